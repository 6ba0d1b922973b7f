//! What a caller asks for, and what it learns.

use std::path::PathBuf;

use model::archive::{Archive, PointKey};
use model::{EntryName, Name};

/// Most problems that an outcome lists; the rest is counted.
pub(crate) const PROBLEMS_MAX: usize = 10_000;
/// Most bytes of listed problems: a path can be half a megabyte long.
pub(crate) const PROBLEM_BYTES_MAX: usize = 16 << 20;

/// Names bytes as the agent of the source did.
pub type Naming<'a> = &'a (dyn Fn(&[u8]) -> Name + Sync);

/// What happens to entries of the target that are in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// The restore is refused before anything is written; what equals the stored state counts as done.
    Refuse,
    /// What differs is replaced; what equals the stored state stays. A link or file in place of a directory that
    /// only leads to what is wanted is not replaced: the restore is refused.
    Differing,
}

/// A restore.
pub struct Request<'a> {
    /// Where the point is read.
    pub archive: &'a dyn Archive,
    /// Which point.
    pub point: PointKey,
    /// The directory below which the tree of the point is made; it and its parents are made if need be.
    pub target: PathBuf,
    /// The subtrees that are wanted, with the directories above them; empty for everything.
    pub paths: Vec<Vec<EntryName>>,
    /// What happens to entries that are in the way.
    pub overwrite: Overwrite,
    /// Owners, setuid and setgid, devices, `security.*` and `trusted.*` attributes; only heard from root.
    pub owners: bool,
    /// Threads that fetch content; at least one is started.
    pub workers: usize,
    /// Bytes of content held at a time.
    pub memory_bytes: usize,
    /// Removes entries that the point does not have from directories that existed.
    pub delete_extra: bool,
    /// Names bytes, so that content is checked on this machine too and equal content is not fetched.
    pub naming: Option<Naming<'a>>,
}

/// Hears how far a restore is.
pub trait Progress {
    /// How much there is to do; said once, before the first [`Self::advance`].
    fn total(&self, files: u64, bytes: u64);

    /// So many more files and bytes are done.
    fn advance(&self, files: u64, bytes: u64);

    /// Something is not restored as it is stored.
    fn problem(&self, path: &[u8], message: &str);
}

/// Something that is not restored as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a path of the point.
    pub path: Vec<u8>,
    /// What happened.
    pub message: String,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names of regular files that are in the target as they are stored.
    pub files: u64,
    /// Directories that are in the target.
    pub directories: u64,
    /// Symbolic links, devices, pipes and sockets that are in the target.
    pub others: u64,
    /// Entries that were removed because the point does not have them.
    pub removed: u64,
    /// Bytes of content that were written.
    pub bytes_written: u64,
    /// Bytes of content that were there already.
    pub bytes_unchanged: u64,
    /// What is not as it is stored, at most 10,000 and 16 MiB.
    pub problems: Vec<Problem>,
    /// How many problems there were.
    pub problems_count: u64,
}
