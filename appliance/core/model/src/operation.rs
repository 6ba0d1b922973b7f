//! Operations: the changes of a source, in order. Everything that an agent sends is a stream of these.

use crate::item::{Attributes, Extent};
use crate::path::EntryName;
use crate::{Name, ObjectId, Time};

/// One change of a source.
///
/// Operations set state: applying the same run of them twice from the same base gives the same tree.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Operation {
    /// Makes an object, empty, under a name. An object of that number that exists is replaced whole; a name that
    /// exists is unlinked first.
    #[n(0)]
    Make {
        /// Where.
        #[n(0)]
        directory: ObjectId,
        /// Under which name.
        #[n(1)]
        name: EntryName,
        /// The number of the new object.
        #[n(2)]
        object: ObjectId,
        /// What it is.
        #[n(3)]
        attributes: Attributes,
    },
    /// Gives an object that is not a directory one more name.
    #[n(1)]
    Link {
        /// Where.
        #[n(0)]
        directory: ObjectId,
        /// Under which name.
        #[n(1)]
        name: EntryName,
        /// Which object.
        #[n(2)]
        object: ObjectId,
    },
    /// Takes a name away; with its last name an object goes, and with a directory all that is below it.
    #[n(2)]
    Remove {
        /// Where.
        #[n(0)]
        directory: ObjectId,
        /// Which name.
        #[n(1)]
        name: EntryName,
    },
    /// Moves a name; a name that exists at the target is unlinked first.
    #[n(3)]
    Rename {
        /// From which directory.
        #[n(0)]
        directory: ObjectId,
        /// Which name.
        #[n(1)]
        name: EntryName,
        /// To which directory.
        #[n(2)]
        to_directory: ObjectId,
        /// Under which name.
        #[n(3)]
        to_name: EntryName,
    },
    /// Puts content at an offset; a file that is shorter grows.
    #[n(4)]
    Write {
        /// Which file.
        #[n(0)]
        object: ObjectId,
        /// Where in it, in bytes.
        #[n(1)]
        offset: u64,
        /// What.
        #[n(2)]
        content: Content,
    },
    /// Sets the length of a file; what is new reads as zeros.
    #[n(5)]
    Truncate {
        /// Which file.
        #[n(0)]
        object: ObjectId,
        /// Its new length, in bytes.
        #[n(1)]
        size: u64,
    },
    /// Replaces what is said of an object; its kind stays.
    #[n(6)]
    SetAttributes {
        /// Which object.
        #[n(0)]
        object: ObjectId,
        /// What it is now.
        #[n(1)]
        attributes: Attributes,
    },
    /// Sets an extended attribute, POSIX ACLs among them.
    #[n(7)]
    SetXattr {
        /// Which object.
        #[n(0)]
        object: ObjectId,
        /// Its full name, such as `user.origin`.
        #[cbor(n(1), with = "minicbor::bytes")]
        name: Vec<u8>,
        /// Its value.
        #[cbor(n(2), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// Takes an extended attribute away.
    #[n(8)]
    RemoveXattr {
        /// Which object.
        #[n(0)]
        object: ObjectId,
        /// Its full name.
        #[cbor(n(1), with = "minicbor::bytes")]
        name: Vec<u8>,
    },
    /// Names a moment; the state does not change.
    #[n(9)]
    Mark {
        /// What people call it.
        #[n(0)]
        label: String,
        /// When it was.
        #[n(1)]
        at: Time,
    },
}

/// The content of a write: a part of a chunk that the appliance has, or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Content {
    /// `length` bytes of a chunk, from `skip` on.
    #[n(0)]
    Chunk {
        /// The chunk.
        #[n(0)]
        name: Name,
        /// Bytes of the chunk before the range.
        #[n(1)]
        skip: u32,
        /// Bytes of the range.
        #[n(2)]
        length: u32,
    },
    /// `length` bytes that read as zeros.
    #[n(1)]
    Hole {
        /// Bytes of the range.
        #[n(0)]
        length: u64,
    },
}

impl From<Content> for Extent {
    fn from(content: Content) -> Self {
        match content {
            Content::Chunk { name, skip, length } => Self::Chunk { name, skip, length },
            Content::Hole { length } => Self::Hole { length },
        }
    }
}
