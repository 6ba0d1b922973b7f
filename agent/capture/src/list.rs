//! The names of a directory, sorted, and what the filesystem says of them.

use std::mem::MaybeUninit;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, RawDir, statat};
use rustix::io::Errno;

use crate::stat::Seen;

const BUFFER_LENGTH: usize = 64 << 10;
/// Names that are looked up together, in the order of their inodes.
pub(crate) const WINDOW: usize = 4096;

/// The names of a directory.
#[derive(Default)]
pub(crate) struct Listing {
    bytes: Vec<u8>,
    names: Vec<ListedName>,
}

struct ListedName {
    start: usize,
    length: u16,
    inode: u64,
}

impl Listing {
    /// The names that `directory` has; with an error, those that were read before it.
    pub(crate) fn read(directory: impl AsFd) -> (Self, Option<Errno>) {
        let mut listing = Self::default();
        let mut buffer = Box::new([MaybeUninit::<u8>::uninit(); BUFFER_LENGTH]);
        let mut entries = RawDir::new(directory, &mut buffer[..]);
        let mut problem = None;
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if !matches!(name, b"." | b"..") {
                        listing.add(name, entry.ino());
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    problem = Some(error);
                    break;
                }
            }
        }
        listing.sort();
        (listing, problem)
    }

    /// Exactly these names, whether they exist or not.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut listing = Self::default();
        names.for_each(|name| listing.add(name, 0));
        listing.sort();
        listing
    }

    fn add(&mut self, name: &[u8], inode: u64) {
        // No filesystem has longer names than the buffer of one entry; what does not fit is seen as cut.
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.get(..usize::from(length)).unwrap_or(name));
        self.names.push(ListedName { start, length, inode });
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        // A directory that changes while it is listed may show a name twice.
        self.names.sort_unstable_by(|a, b| a.bytes(bytes).cmp(b.bytes(bytes)));
        self.names.dedup_by(|a, b| a.bytes(bytes) == b.bytes(bytes));
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name at an index.
    pub(crate) fn name(&self, index: usize) -> &[u8] {
        self.names.get(index).map_or(&[], |name| name.bytes(&self.bytes))
    }

    /// Whether the name is there.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.names.binary_search_by(|listed| listed.bytes(&self.bytes).cmp(name)).is_ok()
    }

    /// Leaves only one name.
    pub(crate) fn keep_only(&mut self, name: &[u8]) {
        let bytes = &self.bytes;
        self.names.retain(|listed| listed.bytes(bytes) == name);
    }

    /// What `stat` says of the names `from..to`; none for kinds that cannot be stored.
    ///
    /// Asking in the order of inodes spares a disk with a cold cache most of its seeks.
    pub(crate) fn look_up(
        &self,
        directory: impl AsFd,
        from: usize,
        to: usize,
        out: &mut Vec<Result<Option<Seen>, Errno>>,
    ) {
        let names = self.names.get(from..to).unwrap_or_default();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|&index| names.get(index).map_or(0, |name| name.inode));
        out.clear();
        out.resize(names.len(), Ok(None));
        for index in order {
            if let (Some(name), Some(place)) = (names.get(index), out.get_mut(index)) {
                *place = look_up(&directory, name.bytes(&self.bytes));
            }
        }
    }
}

impl ListedName {
    fn bytes<'a>(&self, all: &'a [u8]) -> &'a [u8] {
        all.get(self.start..self.start + usize::from(self.length)).unwrap_or_default()
    }
}

/// What `stat` says of one name.
pub(crate) fn look_up(directory: impl AsFd, name: &[u8]) -> Result<Option<Seen>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statat(directory, name, flags).map(|stat| Seen::new(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_sorted_and_answers_for_each_name() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..300 {
            std::fs::write(folder.path().join(format!("{}", 999 - index)), vec![0; index]).unwrap();
        }
        let directory = std::fs::File::open(folder.path()).unwrap();
        let (mut listing, problem) = Listing::read(&directory);
        assert_eq!((listing.len(), problem), (300, None));
        assert!((1..300).all(|index| listing.name(index - 1) < listing.name(index)));
        let mut seen = Vec::new();
        listing.look_up(&directory, 100, 200, &mut seen);
        for (index, answer) in (100..200).zip(&seen) {
            let expected = 999 - str::from_utf8(listing.name(index)).unwrap().parse::<u64>().unwrap();
            assert_eq!(answer.unwrap().unwrap().stamp.size, expected);
        }
        assert!(listing.has(b"700") && !listing.has(b"699"));
        listing.keep_only(b"800");
        assert_eq!((listing.len(), listing.name(0)), (1, &b"800"[..]));
    }

    #[test]
    fn a_name_that_does_not_exist_says_so() {
        let listing = Listing::of([&b"tmp"[..], b"no such name", b"tmp"].into_iter());
        let mut seen = Vec::new();
        listing.look_up(std::fs::File::open("/").unwrap(), 0, listing.len(), &mut seen);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], Err(Errno::NOENT));
        assert!(seen[1].is_ok());
    }
}
