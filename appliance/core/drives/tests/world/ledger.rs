//! What a set was told and has acknowledged, and what it may therefore say after anything that happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use drives::DriveSet;
use medium::sim::Random;
use medium::{Access, Disk, DiskError, File};
use model::ErrorKind;

use super::{bytes, get, path};

/// A segment as far as it was acknowledged.
#[derive(Clone, Debug, Default)]
struct Segment {
    /// Bytes that were synced.
    synced: usize,
    /// Its name was synced.
    named: bool,
    /// Its removal was begun.
    removing: bool,
    /// Its removal was synced.
    removed: bool,
    /// It may have been written in two ways: the number was used before.
    file: Option<Arc<dyn File>>,
    written: usize,
}

/// What was done to a set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    segments: BTreeMap<u64, Segment>,
    /// Versions of a header and of the catalog: the last that was acknowledged, and the last that was tried.
    values: BTreeMap<&'static str, (u64, u64)>,
    next: u64,
}

const LENGTH: usize = 20_000;

/// The bytes that a segment has from the first on.
fn expected(number: u64) -> Vec<u8> {
    bytes(number, LENGTH)
}

impl Ledger {
    /// Makes or goes on with a segment, replaces a value, or removes something.
    pub(crate) fn act(&mut self, set: &DriveSet, random: &mut Random) -> Result<(), DiskError> {
        match random.below(10) {
            0..=2 => self.begin(set),
            3..=5 => self.append(random),
            6 => self.seal(random),
            7 => self.replace(set, "header.0"),
            8 => self.replace(set, "catalog.redb"),
            _ => self.remove(set, random),
        }
    }

    fn begin(&mut self, set: &DriveSet) -> Result<(), DiskError> {
        self.next += 1;
        let number = self.next;
        let segment = self.segments.entry(number).or_default();
        let file = set.create(&path(number))?;
        file.write_at(0, &expected(number)[..1_000])?;
        file.sync_data()?;
        (segment.synced, segment.written) = (1_000, 1_000);
        segment.file = Some(file);
        set.sync_directory("segments")?;
        segment.named = true;
        Ok(())
    }

    fn open_one(&mut self, random: &mut Random) -> Option<(u64, &mut Segment)> {
        let mut open: Vec<_> = self.segments.iter_mut().filter(|(_, s)| s.file.is_some()).collect();
        if open.is_empty() {
            return None;
        }
        let (number, segment) = open.swap_remove(random.index(open.len()));
        Some((*number, segment))
    }

    fn append(&mut self, random: &mut Random) -> Result<(), DiskError> {
        let length = 1 + random.index(3_000);
        let sync = random.chance(70);
        let Some((number, segment)) = self.open_one(random) else { return Ok(()) };
        let Some(file) = segment.file.clone() else { return Ok(()) };
        let end = (segment.written + length).min(LENGTH);
        file.write_at(segment.written as u64, &expected(number)[segment.written..end])?;
        segment.written = end;
        if sync {
            file.sync_data()?;
            segment.synced = end;
        }
        Ok(())
    }

    fn seal(&mut self, random: &mut Random) -> Result<(), DiskError> {
        let Some((_, segment)) = self.open_one(random) else { return Ok(()) };
        if let Some(file) = &segment.file {
            file.sync_data()?;
            segment.synced = segment.written;
        }
        segment.file = None;
        Ok(())
    }

    fn replace(&mut self, set: &DriveSet, name: &'static str) -> Result<(), DiskError> {
        let value = self.values.entry(name).or_default();
        value.1 += 1;
        let version = value.1;
        let temporary = format!("{name}.new");
        match set.remove(&temporary) {
            Err(error) if error.kind() == ErrorKind::Missing => {}
            result => result?,
        }
        let file = set.create(&temporary)?;
        file.write_at(0, &bytes(version, 3_000))?;
        file.sync_data()?;
        set.rename(&temporary, name)?;
        set.sync_directory("")?;
        self.values.entry(name).or_default().0 = version;
        Ok(())
    }

    fn remove(&mut self, set: &DriveSet, random: &mut Random) -> Result<(), DiskError> {
        let there: Vec<u64> = self
            .segments
            .iter()
            .filter(|(_, s)| s.named && !s.removing && s.file.is_none())
            .map(|(n, _)| *n)
            .collect();
        if there.len() < 3 {
            return Ok(());
        }
        let number = there[random.index(there.len())];
        let Some(segment) = self.segments.get_mut(&number) else { return Ok(()) };
        segment.removing = true;
        set.remove(&path(number))?;
        set.sync_directory("segments")?;
        segment.removed = true;
        Ok(())
    }

    /// Segments that nobody writes.
    pub(crate) fn is_sealed(&self, number: u64) -> bool {
        self.segments.get(&number).is_none_or(|segment| segment.file.is_none())
    }

    /// Everybody lets go of everything, as after a crash. What was not acknowledged is what it is found to be.
    pub(crate) fn let_go(&mut self) {
        self.segments.values_mut().for_each(|segment| segment.file = None);
    }

    /// What is found is acknowledged by that: it was opened, synced and believed.
    pub(crate) fn believe(&mut self, set: &DriveSet) -> Result<(), DiskError> {
        for (number, segment) in self.segments.iter_mut().filter(|(_, s)| !s.removed) {
            match set.open(&path(*number), Access::ReadWrite) {
                Ok(file) => {
                    let length = usize::try_from(file.length()?).unwrap();
                    file.sync_data()?;
                    let mut found = vec![0; length];
                    file.read_at(0, &mut found)?;
                    let same = found.iter().zip(expected(*number)).take_while(|(a, b)| **a == *b).count();
                    segment.synced = segment.synced.max(same);
                    (segment.written, segment.named) = (same, !segment.removing);
                }
                Err(error) if error.kind() == ErrorKind::Missing => segment.removed = !segment.named,
                Err(error) => return Err(error),
            }
        }
        set.sync_directory("segments")?;
        set.sync_directory("")
    }

    /// Compares everything that was acknowledged with what a set says.
    pub(crate) fn check(&self, set: &DriveSet, what: &str) {
        for (number, segment) in &self.segments {
            let found = get(set, &path(*number));
            if segment.removed {
                assert!(found.is_err(), "{what}: segment {number} is back");
            } else if segment.named && !segment.removing {
                let found = found.unwrap_or_else(|e| {
                    panic!(
                        "{what}: segment {number}: {e:?} {set:?} {segment:?} {:?} {:?}",
                        set.at_risk(),
                        set.members()
                    )
                });
                assert!(found.len() >= segment.synced, "{what}: segment {number} is cut to {}", found.len());
                let expected = expected(*number);
                assert!(
                    found[..segment.synced] == expected[..segment.synced],
                    "{what}: segment {number} is not itself"
                );
            }
        }
        for (name, (acknowledged, tried)) in &self.values {
            let found = get(set, name).ok();
            let fits = |version: u64| match &found {
                None => version == 0,
                Some(found) => *found == bytes(version, 3_000),
            };
            assert!(
                (*acknowledged..=*tried).any(fits),
                "{what}: {name} is not {acknowledged}..={tried}: {:?}",
                found.map(|f| f.len())
            );
        }
    }
}
