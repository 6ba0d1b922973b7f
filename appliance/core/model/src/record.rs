//! What the pool keeps besides content: machines, sources, points and settings, as CBOR with integer keys.

use crate::path::{ENTRY_NAME_LENGTH_MAX, EntryName, EntryNameError, Escaped};
use crate::{DomainId, MachineId, Name, SequenceNumber, SourceId, Time};

/// Most exceptions that a point lists; the rest is counted.
pub const EXCEPTIONS_MAX: usize = 10_000;
/// Most bytes that the exceptions of a point take up, so that a message or a record holds them.
pub const EXCEPTIONS_LENGTH_MAX: usize = 3 << 20;

/// Drops exceptions from the end until a point may list them; their count is to be taken before.
pub fn fit_exceptions(exceptions: &mut Vec<Exception>) {
    /// What CBOR adds to path and words.
    const OVERHEAD: usize = 16;
    let mut length = 0;
    let fitting = exceptions.iter().take(EXCEPTIONS_MAX).take_while(|exception| {
        length += exception.path.len() + exception.detail.len() + OVERHEAD;
        length <= EXCEPTIONS_LENGTH_MAX
    });
    let count = fitting.count();
    exceptions.truncate(count);
}

/// The name of a machine or of a source: a readable name that is safe as a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Label(#[n(0)] String);

impl Label {
    /// Checks a name: UTF-8, 1 to 64 bytes, no `/`, `@`, `:`, control characters; not `.`, `..`; no `-` in front.
    pub fn new(text: &str) -> Result<Self, EntryNameError> {
        let forbidden = |c: char| c.is_control() || matches!(c, '/' | '@' | ':' | '\\');
        EntryName::new(text.as_bytes())?;
        if text.len() > 64 {
            return Err(EntryNameError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.trim() != text || text.chars().any(forbidden) {
            return Err(EntryNameError::Reserved(Escaped(text.as_bytes()).to_string()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

const _: () = assert!(ENTRY_NAME_LENGTH_MAX >= 64, "a label is a name of an entry");

/// A protected machine.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Machine {
    /// Its number.
    #[n(0)]
    pub id: MachineId,
    /// What people call it.
    #[n(1)]
    pub label: Label,
    /// Whose chunk names it shares.
    #[n(2)]
    pub domain: DomainId,
    /// When it was added.
    #[n(3)]
    pub added: Time,
    /// Who may speak for it; replaced when the machine joins again.
    #[n(4)]
    pub agent: Option<AgentKey>,
}

/// The agent that may speak for a machine.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct AgentKey {
    /// SHA-256 of the agent's public key (`SubjectPublicKeyInfo`, DER).
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key_hash: Vec<u8>,
    /// When it joined.
    #[n(1)]
    pub joined: Time,
    /// Whose points it may read.
    #[n(2)]
    pub restore: RestoreGrant,
    /// Whether it is shut out.
    #[n(3)]
    pub revoked: bool,
}

/// Whose points an agent may read.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum RestoreGrant {
    /// Nobody's, not even its own: it can only add.
    #[n(0)]
    None,
    /// Its own, and those of the machines named.
    #[n(1)]
    Machines(#[n(0)] Vec<Label>),
    /// Everybody's.
    #[n(2)]
    All,
}

/// One protected thing of a machine.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Source {
    /// Its number.
    #[n(0)]
    pub id: SourceId,
    /// Whose it is.
    #[n(1)]
    pub machine: MachineId,
    /// What people call it.
    #[n(2)]
    pub label: Label,
    /// When it was added.
    #[n(3)]
    pub added: Time,
}

/// A tree as a record names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct TreeRoot {
    /// The root page; none in an empty tree.
    #[n(0)]
    pub page: Option<Name>,
    /// Levels of pages; 0 in an empty tree.
    #[n(1)]
    pub height: u8,
    /// Items in the tree.
    #[n(2)]
    pub items: u64,
}

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Point {
    /// Of which source.
    #[n(0)]
    pub source: SourceId,
    /// Its number among the points of the source, from 1; never reused.
    #[n(1)]
    pub number: u64,
    /// Its folder name, unique in the source.
    #[n(2)]
    pub id: String,
    /// The last operation that it holds.
    #[n(3)]
    pub sequence: SequenceNumber,
    /// When the agent began to read, by the agent's clock.
    #[n(4)]
    pub started: Time,
    /// When the agent was done, by the agent's clock.
    #[n(5)]
    pub finished: Time,
    /// When it was committed, by the appliance's clock.
    #[n(6)]
    pub received: Time,
    /// Its tree.
    #[n(7)]
    pub root: TreeRoot,
    /// What the agent read and sent.
    #[n(8)]
    pub totals: Totals,
    /// What is not as it should be, as far as [`fit_exceptions`] keeps it.
    #[n(9)]
    pub exceptions: Vec<Exception>,
    /// How many exceptions there were; if it is more than are listed, the list was cut.
    #[n(10)]
    pub exceptions_count: u64,
    /// What the agent must show to go on from this point.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub continuity: Vec<u8>,
    /// How long the appliance had run in all when it was committed, in nanoseconds; none if that was not kept then.
    #[n(12)]
    pub witnessed: Option<u64>,
}

/// Figures of one backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Totals {
    /// Files of the point.
    #[n(0)]
    pub files: u64,
    /// Directories of the point.
    #[n(1)]
    pub directories: u64,
    /// Links, devices, pipes and sockets of the point.
    #[n(2)]
    pub others: u64,
    /// Bytes of all files.
    #[n(3)]
    pub bytes: u64,
    /// Files whose content was read.
    #[n(4)]
    pub files_read: u64,
    /// Bytes that were read.
    #[n(5)]
    pub bytes_read: u64,
    /// Bytes that were sent, compressed.
    #[n(6)]
    pub bytes_sent: u64,
}

/// Why a path is not in a point as it should be.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Exception {
    /// The path, as bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// What happened.
    #[n(1)]
    pub cause: ExceptionCause,
    /// The operating system's words.
    #[n(2)]
    pub detail: String,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ExceptionCause {
    /// It was there and then was not.
    #[n(0)]
    Vanished,
    /// It changed while it was read; what is stored mixes moments.
    #[n(1)]
    Changed,
    /// It could not be read; the point has what the last one had, or nothing.
    #[n(2)]
    Unreadable,
    /// It is of a kind or size that is not stored.
    #[n(3)]
    Unsupported,
}

impl ExceptionCause {
    /// The word for it in listings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::Changed => "changed while read",
            Self::Unreadable => "unreadable",
            Self::Unsupported => "not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_safe_as_folders() {
        for good in ["web1", "home", "db.internal", "\u{6587}\u{4ef6} \u{670d}"] {
            assert!(Label::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-rf", "a@b", "a:b", " a", "a\n", &"x".repeat(65)] {
            assert!(Label::new(bad).is_err(), "{bad:?}");
        }
    }
}
