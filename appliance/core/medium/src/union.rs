//! Several disks that hold parts and copies of one tree, read as one.
//!
//! A file below a directory is there if any of the disks has it, and has a copy for each that does: whoever can judge
//! asks for another one. Of files at the root each disk has its own, which may differ: the first disk that gives one
//! counts, alone. Disks are ranked: one that was away for a while, and may have what is old, comes behind those that were
//! not; among disks of one rank a longer copy comes before a shorter one. A disk that fails costs only what no other has.
//!
//! It is for reading: nothing is passed on that changes anything.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use model::ErrorKind;

use crate::{Access, Disk, DiskError, DiskPath, File, Lock, Operation, Space};

/// Disks as one.
pub struct Union {
    /// Each with its rank, ascending.
    disks: Vec<(u32, Arc<dyn Disk>)>,
}

impl Union {
    /// Disks of one rank, those first whose own files count before others'.
    #[must_use]
    pub fn new(disks: Vec<Arc<dyn Disk>>) -> Self {
        Self::ranked(disks.into_iter().map(|disk| (0, disk)).collect())
    }

    /// Disks with their ranks; those of a lower one are believed before the others.
    #[must_use]
    pub fn ranked(mut disks: Vec<(u32, Arc<dyn Disk>)>) -> Self {
        disks.sort_by_key(|(rank, _)| *rank);
        Self { disks }
    }

    /// Asks every disk; what those say that answer, or else why the first does not that has more to say than that
    /// there is nothing.
    fn each<T>(&self, ask: impl Fn(&dyn Disk) -> Result<T, DiskError>) -> Result<Vec<(u32, T)>, DiskError> {
        let (mut answers, mut failure) = (Vec::new(), None::<DiskError>);
        for (rank, disk) in &self.disks {
            match ask(&**disk) {
                Ok(answer) => answers.push((*rank, answer)),
                Err(error) => {
                    let is_worse = |known: &DiskError| {
                        known.kind() == ErrorKind::Missing && error.kind() != ErrorKind::Missing
                    };
                    if failure.as_ref().is_none_or(is_worse) {
                        failure = Some(error);
                    }
                }
            }
        }
        match failure {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }
}

fn refused<T>(operation: Operation, path: &str) -> Result<T, DiskError> {
    Err(DiskError::failed(operation, path, io::ErrorKind::ReadOnlyFilesystem))
}

impl Disk for Union {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        refused(Operation::Create, path)
    }

    fn open(&self, path: &str, _: Access) -> Result<Arc<dyn File>, DiskError> {
        let opened = self.each(|disk| {
            let file = disk.open(path, Access::Read)?;
            Ok((file.length()?, file))
        });
        let mut copies = opened?;
        if DiskPath::parse(path)?.parent().as_str().is_empty() {
            copies.truncate(1);
        }
        copies.sort_by_key(|(rank, (length, _))| (*rank, std::cmp::Reverse(*length)));
        let files = copies.into_iter().map(|(_, (_, file))| file).collect();
        Ok(Arc::new(UnionFile { files, path: path.into() }))
    }

    fn rename(&self, from: &str, _: &str) -> Result<(), DiskError> {
        refused(Operation::Rename, from)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        refused(Operation::Remove, path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        refused(Operation::MakeDirectory, path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let lists = self.each(|disk| disk.list(directory))?;
        let names: BTreeSet<String> = lists.into_iter().flat_map(|(_, names)| names).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_directory(&self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    /// The lock of every disk.
    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        let locks = self.disks.iter().map(|(_, disk)| disk.lock(path));
        Ok(Box::new(UnionLock { _locks: locks.collect::<Result<_, _>>()? }))
    }

    fn space(&self) -> Result<Space, DiskError> {
        let spaces = self.each(|disk| disk.space())?;
        let capacity = spaces.iter().map(|(_, space)| space.capacity_bytes).sum();
        Ok(Space { capacity_bytes: capacity, available_bytes: 0 })
    }
}

/// All copies of a file.
#[derive(Debug)]
struct UnionFile {
    /// Those first that are believed first; at least one.
    files: Vec<Arc<dyn File>>,
    path: Box<str>,
}

impl UnionFile {
    /// What the first copy gives that gives anything, or why the first of all does not.
    fn first<T>(&self, mut ask: impl FnMut(&dyn File) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let mut failure = None;
        for file in &self.files {
            match ask(&**file) {
                Ok(answer) => return Ok(answer),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        let missing = || DiskError::failed(Operation::Open, &*self.path, io::ErrorKind::NotFound);
        Err(failure.unwrap_or_else(missing))
    }
}

impl File for UnionFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.first(|file| file.read_at(offset, buffer))
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        refused(Operation::Write, &self.path)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.files.iter().try_for_each(|file| file.forget_cached())
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.first(|file| file.length())
    }

    fn set_length(&self, _: u64) -> Result<(), DiskError> {
        refused(Operation::SetLength, &self.path)
    }

    fn copies(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let missing = || DiskError::failed(Operation::Read, &*self.path, io::ErrorKind::NotFound);
        self.files.get(copy as usize).ok_or_else(missing)?.read_at(offset, buffer)
    }
}

#[derive(Debug)]
struct UnionLock {
    _locks: Vec<Box<dyn Lock>>,
}

impl Lock for UnionLock {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Fault, FaultPlan, SimDisk};

    fn disk(seed: u64, files: &[(&str, &[u8])]) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.make_directory("segments").unwrap();
        for (path, bytes) in files {
            disk.create(path).unwrap().write_at(0, bytes).unwrap();
        }
        disk
    }

    fn read(union: &Union, path: &str) -> Result<Vec<u8>, DiskError> {
        let file = union.open(path, Access::ReadWrite)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).unwrap()];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_any_disk_has_is_there_and_copies_stand_in_for_each_other() {
        let a = disk(1, &[("own", b"of a"), ("segments/1", b"one"), ("segments/2", b"tw")]);
        let b = disk(2, &[("own", b"of b, longer"), ("segments/2", b"two"), ("segments/3", b"three")]);
        let union = Union::new(vec![Arc::new(a.clone()), Arc::new(b.clone())]);
        assert_eq!(union.list("segments").unwrap(), ["1", "2", "3"]);
        assert_eq!(read(&union, "own").unwrap(), b"of a");
        assert_eq!(union.open("own", Access::Read).unwrap().copies(), 1, "each disk has its own");
        for (path, bytes) in [("segments/1", &b"one"[..]), ("segments/2", b"two"), ("segments/3", b"three")] {
            assert_eq!(read(&union, path).unwrap(), bytes, "{path}");
        }
        let two = union.open("segments/2", Access::Read).unwrap();
        let mut copy = [0; 2];
        two.read_copy(1, 0, &mut copy).unwrap();
        assert_eq!((two.copies(), &copy), (2, b"tw"));
        assert_eq!(read(&union, "segments/4").unwrap_err().kind(), ErrorKind::Missing);

        b.fail(FaultPlan::lasting(Fault::Error, 0).on_reads());
        assert_eq!(read(&union, "segments/1").unwrap(), b"one");
        assert_eq!(
            two.read_at(2, &mut [0]).unwrap_err().kind(),
            ErrorKind::Io,
            "the longer one does not answer"
        );
        assert_eq!(two.read_at(0, &mut copy).map(|()| copy).unwrap(), *b"tw");
    }

    #[test]
    fn a_disk_that_was_away_is_believed_only_where_no_other_has_anything() {
        let away = disk(1, &[("own", b"old"), ("segments/1", b"old and long"), ("segments/2", b"kept")]);
        let current = disk(2, &[("own", b"new"), ("segments/1", b"new")]);
        let union = Union::ranked(vec![(7, Arc::new(away)), (0, Arc::new(current))]);
        for (path, bytes) in [("own", &b"new"[..]), ("segments/1", b"new"), ("segments/2", b"kept")] {
            assert_eq!(read(&union, path).unwrap(), bytes, "{path}");
        }
        assert_eq!(union.open("segments/1", Access::Read).unwrap().copies(), 2);
    }

    #[test]
    fn nothing_is_changed() {
        let below = disk(1, &[("segments/1", b"one")]);
        let before = below.files();
        let union = Union::new(vec![Arc::new(below.clone())]);
        let file = union.open("segments/1", Access::ReadWrite).unwrap();
        file.sync_data().unwrap();
        union.sync_directory("segments").unwrap();
        let refusals = [
            file.write_at(0, b"x"),
            file.set_length(0),
            union.create("new").map(drop),
            union.remove("segments/1"),
            union.rename("segments/1", "segments/2"),
            union.make_directory("d"),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
        assert_eq!((below.files(), union.space().unwrap().available_bytes), (before, 0));
    }

    #[test]
    fn who_holds_the_lock_of_one_disk_holds_it_of_all() {
        let (a, b) = (disk(1, &[]), disk(2, &[]));
        let union = Union::new(vec![Arc::new(a), Arc::new(b.clone())]);
        let held = b.lock("lock").unwrap();
        assert!(matches!(union.lock("lock"), Err(DiskError::Held { .. })));
        drop(held);
        assert!(union.lock("lock").is_ok());
    }
}
