//! The catalog: a redb database that says where chunks and pages are, and what machines, sources and points there are.
//!
//! It is derived: everything in it follows from the segments up to the commit in its mark, and it is brought up to
//! date in large sorted batches. Names of files, machines and sources are in it only sealed. A catalog that cannot
//! be read is set aside under another name and made anew from the segments.
//!
//! redb trusts its file and panics on some of what a flipped bit can make of it. Every call of it is contained: a
//! panic comes out as an error that says that the catalog is damaged.

mod batch;
mod checks;
mod demands;
mod filter;
mod growth;
mod holders;
mod mark;
mod place;
mod segments;
mod sweep;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use medium::{Access, Disk};
use model::archive::PointKey;
use model::{ErrorKind, MachineId, Name, SegmentNumber, SourceId};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

pub use batch::{Batch, EntryChange};
pub(crate) use demands::{Settled, Written};
use filter::Filter;
pub(crate) use growth::Step;
pub use growth::{Growth, SourceUse};
pub use holders::Holders;
pub use mark::Mark;
use place::ENTRY_LENGTH;
pub use place::{Entry, Place};
use segments::USE_LENGTH;
pub use segments::{Kind, Use};
pub(crate) use sweep::names_in;

use crate::PoolError;
use crate::backend::{CatalogFile, HeldFile};
use crate::counting::Progress;
use crate::header::ignore_missing;
use crate::layout::{CATALOG, CATALOG_NEW, CATALOG_REPLACED};
use crate::overlay::Overlay;
use crate::sums::Sums;

type EntryTable = TableDefinition<'static, &'static [u8; 32], &'static [u8; ENTRY_LENGTH]>;

const CHUNKS: EntryTable = TableDefinition::new("chunks");
const PAGES: EntryTable = TableDefinition::new("pages");
const SEGMENTS: TableDefinition<'_, u64, &[u8; USE_LENGTH]> = TableDefinition::new("segments");
const COUNTED: TableDefinition<'_, &[u8; COUNTED_LENGTH], ()> = TableDefinition::new("counted");
const ADOPTED: TableDefinition<'_, &[u8; ADOPTED_LENGTH], ()> = TableDefinition::new("adopted");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const MARK: &str = "mark";
const VERSION: &str = "version";
/// The version of what is in it. A catalog of another one is made anew.
const VERSION_KNOWN: u16 = 5;
const COUNTING: &str = "counting";
const UNSWEPT: &str = "unswept";
const LEAVING: &str = "leaving";

/// Bytes that redb may keep in memory.
const CACHE_BYTES: usize = 128 << 20;
const ADOPTED_LENGTH: usize = Name::LENGTH + 8;
const COUNTED_LENGTH: usize = 8 + 8;

/// A key of the catalog and the sealed record under it.
pub type Stored = (Vec<u8>, Vec<u8>);
/// A key of the catalog and what is to stand under it; nothing if it is to go.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// An empty file that nobody else uses, for what a catalog that is not on the drive cannot keep in memory.
pub type Scratch = Option<Arc<dyn medium::File>>;

/// An open catalog.
pub struct Catalog {
    /// There until it is dropped.
    database: Option<Database>,
    /// A call failed: redb answers nothing more until it is opened again.
    failed: AtomicBool,
    filter: Filter,
    /// Its file, unless it is in memory.
    file: Option<Arc<CatalogFile>>,
}

/// How a catalog is checked, which redb does not do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All of it is read.
    Whole,
    /// Each block is checked against its sum when it is read, if it has at least so many bytes and sums are there.
    ByBlock(u64),
}

fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> PoolError {
    move |error| PoolError::catalog(operation)(error.into())
}

/// Runs redb on a file that may be damaged.
fn contained<T>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    // What a panic leaves behind is not trusted: the catalog is made anew when the pool is opened again.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(PoolError::CatalogValue(operation)))
}

impl Drop for Catalog {
    fn drop(&mut self) {
        let database = self.database.take();
        // There is nothing left to do about a file that cannot even be closed.
        let _ = contained("its end", || {
            drop(database);
            Ok(())
        });
    }
}

impl Catalog {
    fn database(&self) -> Result<&Database, PoolError> {
        self.database.as_ref().ok_or(PoolError::Failed)
    }

    /// Runs a read in a transaction of its own.
    fn read<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let result = contained(what, || {
            let read = self.database()?.begin_read().map_err(failed("read"))?;
            work(&read)
        });
        self.note(result)
    }

    fn note<T>(&self, result: Result<T, PoolError>) -> Result<T, PoolError> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    /// Whether a call failed, a read among them, so that it has to be opened again.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Opens the catalog; makes it if there is none of this version.
    pub fn open(disk: &dyn Disk, check: Check) -> Result<Self, PoolError> {
        match disk.open(CATALOG, Access::ReadWrite) {
            Ok(file) => {
                let catalog = Self::from_platter(disk, file, check)?;
                if catalog.is_of_this_version()? {
                    return Ok(catalog);
                }
                drop(catalog);
                Self::make(disk)
            }
            Err(error) if error.kind() == ErrorKind::Missing => Self::make(disk),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the catalog as it is and leaves its file alone: what is written stays in memory, or where memory ends in a
    /// scratch file. Without one of this version, all of it.
    pub fn open_above(disk: &dyn Disk, scratch: Scratch) -> Result<Self, PoolError> {
        let file = match disk.open(CATALOG, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::Missing => return Self::in_memory(scratch),
            Err(error) => return Err(error.into()),
        };
        file.forget_cached()?;
        let catalog = Self::above(Some(CatalogFile::new(file)), scratch.clone())?.checked()?;
        if catalog.is_of_this_version()? {
            return Ok(catalog);
        }
        drop(catalog);
        Self::in_memory(scratch)
    }

    /// Makes an empty catalog in memory alone, or where memory ends in a scratch file.
    pub fn in_memory(scratch: Scratch) -> Result<Self, PoolError> {
        let catalog = Self::above(None, scratch)?.without_anything();
        catalog.write(&Batch::default(), &Mark::default())?;
        Ok(catalog)
    }

    fn above(base: Option<CatalogFile>, scratch: Scratch) -> Result<Self, PoolError> {
        let overlay = Overlay::new(base, scratch);
        Self::from_backend(overlay.map_err(|error| failed("open")(redb::Error::Io(error)))?)
    }

    /// Opens what a crash would leave, whatever an earlier failed sync left in the kernel's memory. The length that is
    /// seen there may be lost as well, and redb goes by it, so it is set once more.
    fn from_platter(disk: &dyn Disk, file: Arc<dyn medium::File>, check: Check) -> Result<Self, PoolError> {
        let length = file.length()?;
        file.set_length(length)?;
        file.sync_data()?;
        file.forget_cached()?;
        if matches!(check, Check::ByBlock(least) if length >= least)
            && let Some(file) = CatalogFile::with_sums(disk, Arc::clone(&file))?
        {
            return Self::over(file);
        }
        Sums::remove(disk)?;
        let catalog = Self::from_file(file)?.checked()?;
        catalog.keep_sums(disk, check);
        Ok(catalog)
    }

    /// Keeps sums of its blocks, if it is so large that the next opening is not to read all of it.
    pub fn keep_sums(&self, disk: &dyn Disk, check: Check) {
        if let (Some(file), Check::ByBlock(least)) = (&self.file, check) {
            file.keep_sums(disk, least);
        }
    }

    /// Reads all of it once: redb has checksums, and looks at them only when it is told to. A root that is damaged is
    /// replaced by the one before it, which is as good: what it lacks is read from the segments.
    fn checked(mut self) -> Result<Self, PoolError> {
        let database = self.database.as_mut().ok_or(PoolError::Failed)?;
        contained("its content", || database.check_integrity().map_err(failed("check")))?;
        self.mark()?;
        Ok(self)
    }

    fn from_file(file: Arc<dyn medium::File>) -> Result<Self, PoolError> {
        Self::over(CatalogFile::new(file))
    }

    fn over(file: CatalogFile) -> Result<Self, PoolError> {
        let file = Arc::new(file);
        let mut catalog = Self::from_backend(HeldFile(Arc::clone(&file)))?;
        catalog.file = Some(file);
        Ok(catalog)
    }

    fn from_backend(backend: impl redb::StorageBackend) -> Result<Self, PoolError> {
        let builder = || redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = contained("its file", || builder().map_err(failed("open")))?;
        Ok(Self {
            database: Some(database),
            failed: AtomicBool::new(false),
            filter: Filter::default(),
            file: None,
        })
    }

    /// One of which it is known that it has nothing.
    fn without_anything(mut self) -> Self {
        self.filter = Filter::of_nothing();
        self
    }

    /// Makes an empty catalog under another name first: a crash between the first writes of redb leaves a file that
    /// nothing can open.
    fn make(disk: &dyn Disk) -> Result<Self, PoolError> {
        let (catalog, file) = Self::create_beside(disk)?;
        drop(catalog);
        file.sync_data()?;
        Sums::remove(disk)?;
        disk.rename(CATALOG_NEW, CATALOG)?;
        disk.sync_directory("")?;
        let catalog = Self::from_file(disk.open(CATALOG, Access::ReadWrite)?)?;
        Ok(catalog.without_anything())
    }

    /// Makes an empty catalog under another name, beside the one that there may be.
    pub fn make_beside(disk: &dyn Disk) -> Result<Self, PoolError> {
        Ok(Self::create_beside(disk)?.0)
    }

    fn create_beside(disk: &dyn Disk) -> Result<(Self, Arc<dyn medium::File>), PoolError> {
        ignore_missing(disk.remove(CATALOG_NEW))?;
        let file = disk.create(CATALOG_NEW)?;
        let catalog = Self::from_file(Arc::clone(&file))?.without_anything();
        catalog.write(&Batch::default(), &Mark::default())?;
        Ok((catalog, file))
    }

    /// Puts the catalog that was made beside in the place of the one that is there, which is kept. The old one must not
    /// be open.
    pub fn replace(disk: &dyn Disk) -> Result<(), PoolError> {
        Sums::remove(disk)?;
        ignore_missing(disk.rename(CATALOG, CATALOG_REPLACED))?;
        disk.rename(CATALOG_NEW, CATALOG)?;
        Ok(disk.sync_directory("")?)
    }

    /// Renames the catalog to a name that is free. Only the last one is kept.
    pub fn set_aside(disk: &dyn Disk) -> Result<String, PoolError> {
        let prefix = format!("{CATALOG}.damaged-");
        let kept: Vec<String> = disk.list("")?.into_iter().filter(|name| name.starts_with(&prefix)).collect();
        let free = |n: &u32| !kept.contains(&format!("{prefix}{n}"));
        let name = format!("{prefix}{}", (1..).find(free).unwrap_or(u32::MAX));
        Sums::remove(disk)?;
        disk.rename(CATALOG, &name)?;
        disk.sync_directory("")?;
        kept.iter().try_for_each(|old| ignore_missing(disk.remove(old)))?;
        Ok(name)
    }

    /// How far it has read.
    pub fn mark(&self) -> Result<Mark, PoolError> {
        self.state_value(MARK, "its mark")
    }

    fn is_of_this_version(&self) -> Result<bool, PoolError> {
        self.read("its version", |read| {
            let table = read.open_table(STATE).map_err(failed("read its version"))?;
            let value = table.get(VERSION).map_err(failed("read its version"))?;
            Ok(value.is_some_and(|value| value.value() == VERSION_KNOWN.to_le_bytes()))
        })
    }

    /// Puts a batch in and moves the mark, in one transaction.
    pub(crate) fn write(&self, batch: &Batch, mark: &Mark) -> Result<Written, PoolError> {
        let _taken = self.filter.take(batch.chunks.iter().chain(&batch.pages).map(|(name, _)| name));
        self.note(contained("what is written to it", || self.write_uncontained(batch, mark)))
    }

    fn write_uncontained(&self, batch: &Batch, mark: &Mark) -> Result<Written, PoolError> {
        let mut write = self.database()?.begin_write().map_err(failed("begin a transaction"))?;
        // An opening after a crash finds what is free without reading everything.
        write.set_quick_repair(true);
        let written = batch.write(&write, mark)?;
        write.commit().map_err(failed("commit"))?;
        Ok(written)
    }

    /// What is kept of a chunk.
    pub fn chunk(&self, name: &Name) -> Result<Entry, PoolError> {
        Ok(self.entries(CHUNKS, &[*name])?.pop().unwrap_or_default())
    }

    /// What is kept of each of some chunks, in one transaction.
    pub fn chunks(&self, names: &[Name]) -> Result<Vec<Entry>, PoolError> {
        self.entries(CHUNKS, names)
    }

    /// What is kept of a page.
    pub fn page(&self, name: &Name) -> Result<Entry, PoolError> {
        Ok(self.entries(PAGES, &[*name])?.pop().unwrap_or_default())
    }

    fn entries(&self, table: EntryTable, names: &[Name]) -> Result<Vec<Entry>, PoolError> {
        let may_have = self.filter.may_have(names);
        if !may_have.contains(&true) {
            return Ok(vec![Entry::default(); names.len()]);
        }
        self.read("chunks or pages", |read| {
            let table = read.open_table(table).map_err(failed("read entries"))?;
            let entry = |(name, may_have): (&Name, bool)| -> Result<Entry, PoolError> {
                if !may_have {
                    return Ok(Entry::default());
                }
                let value = table.get(&name.0).map_err(failed("read entries"))?;
                Ok(value.map(|value| Entry::decode(value.value())).unwrap_or_default())
            };
            names.iter().zip(may_have).map(entry).collect()
        })
    }

    /// Whether a machine sent a chunk of which another machine's copy is kept.
    pub fn is_adopted(&self, name: &Name, machine: MachineId) -> Result<bool, PoolError> {
        Ok(self.adopted(&[*name], machine)? == [true])
    }

    /// The same of some chunks, in one transaction.
    pub fn adopted(&self, names: &[Name], machine: MachineId) -> Result<Vec<bool>, PoolError> {
        self.read("owners", |read| {
            let table = read.open_table(ADOPTED).map_err(failed("read owners"))?;
            let is_adopted = |name: &Name| -> Result<bool, PoolError> {
                Ok(table.get(&adopted_key(name, machine)).map_err(failed("read owners"))?.is_some())
            };
            names.iter().map(is_adopted).collect()
        })
    }

    /// Those of some chunks that further machines own.
    pub fn with_owners(&self, names: &[Name]) -> Result<Vec<Name>, PoolError> {
        self.read("owners", |read| {
            let table = read.open_table(ADOPTED).map_err(failed("read owners"))?;
            let mut owned = Vec::new();
            for name in names {
                let (first, last) = (adopted_key(name, MachineId(0)), adopted_key(name, MachineId(u64::MAX)));
                let mut owners =
                    table.range::<&[u8; ADOPTED_LENGTH]>(&first..=&last).map_err(failed("read owners"))?;
                owned.extend(owners.next().transpose().map_err(failed("read owners"))?.map(|_| *name));
            }
            Ok(owned)
        })
    }

    /// Every sealed record with its key, in order.
    pub fn records(&self) -> Result<Vec<Stored>, PoolError> {
        self.read("records", |read| {
            let table = read.open_table(RECORDS).map_err(failed("read records"))?;
            let mut all = Vec::new();
            for entry in table.iter().map_err(failed("read records"))? {
                let (key, value) = entry.map_err(failed("read records"))?;
                all.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(all)
        })
    }

    /// One sealed record.
    pub fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PoolError> {
        self.read("records", |read| {
            let table = read.open_table(RECORDS).map_err(failed("read records"))?;
            let value = table.get(key).map_err(failed("read records"))?;
            Ok(value.map(|v| v.value().to_vec()))
        })
    }

    /// What segments hold, ascending by number.
    pub fn segments(&self) -> Result<Vec<(SegmentNumber, Use)>, PoolError> {
        self.read("segments", |read| {
            let table = read.open_table(SEGMENTS).map_err(failed("read segments"))?;
            let mut all = Vec::new();
            for entry in table.iter().map_err(failed("read segments"))? {
                let (number, value) = entry.map_err(failed("read segments"))?;
                all.push((SegmentNumber(number.value()), Use::decode(value.value())?));
            }
            Ok(all)
        })
    }

    /// Points whose chunks and pages are counted.
    pub fn counted(&self) -> Result<BTreeSet<PointKey>, PoolError> {
        self.read("counted points", |read| {
            let table = read.open_table(COUNTED).map_err(failed("read counted points"))?;
            let mut all = BTreeSet::new();
            for entry in table.iter().map_err(failed("read counted points"))? {
                let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(failed("read counted points"))?;
                let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| key.value()[at + i]));
                all.insert(PointKey { source: SourceId(number(0)), number: number(8) });
            }
            Ok(all)
        })
    }

    /// What was being counted.
    pub fn progress(&self) -> Result<Option<Progress>, PoolError> {
        self.state_value(COUNTING, "its count")
    }

    /// Segments that are gone, whose chunks and pages may be in the tables still.
    pub fn unswept(&self) -> Result<BTreeSet<SegmentNumber>, PoolError> {
        let all: Vec<SegmentNumber> = self.state_value(UNSWEPT, "its segments")?;
        Ok(all.into_iter().collect())
    }

    /// Segments that are gone, whose files may be there still.
    pub fn leaving(&self) -> Result<BTreeSet<SegmentNumber>, PoolError> {
        let all: Vec<SegmentNumber> = self.state_value(LEAVING, "its segments")?;
        Ok(all.into_iter().collect())
    }

    fn state_value<T: for<'a> minicbor::Decode<'a, ()>>(
        &self,
        key: &'static str,
        what: &'static str,
    ) -> Result<T, PoolError> {
        self.read(what, |read| {
            let table = read.open_table(STATE).map_err(failed("read its state"))?;
            let value = table.get(key).map_err(failed("read its state"))?;
            let value = value.ok_or(PoolError::CatalogValue(what))?;
            minicbor::decode(value.value()).map_err(|_| PoolError::CatalogValue(what))
        })
    }

    /// How many chunks it knows.
    pub fn chunk_count(&self) -> Result<u64, PoolError> {
        self.count(CHUNKS)
    }

    /// How many pages it knows.
    pub fn page_count(&self) -> Result<u64, PoolError> {
        self.count(PAGES)
    }

    fn count(&self, table: EntryTable) -> Result<u64, PoolError> {
        self.read("chunks or pages", |read| {
            let table = read.open_table(table).map_err(failed("read entries"))?;
            table.len().map_err(failed("count entries"))
        })
    }

    /// All of it as plain values, to compare two catalogs. For tests and audits: it holds everything in memory.
    pub fn dump(&self) -> Result<Dump, PoolError> {
        self.read("its content", |read| {
            let entries = |definition: EntryTable| -> Result<Vec<(Name, Entry)>, PoolError> {
                let table = read.open_table(definition).map_err(failed("read"))?;
                let mut all = Vec::new();
                for entry in table.iter().map_err(failed("read"))? {
                    let (key, value) = entry.map_err(failed("read"))?;
                    all.push((Name(*key.value()), Entry::decode(value.value())));
                }
                Ok(all)
            };
            let table = read.open_table(ADOPTED).map_err(failed("read owners"))?;
            let mut adopted = Vec::new();
            for entry in table.iter().map_err(failed("read owners"))? {
                adopted.push(entry.map_err(failed("read owners"))?.0.value().to_vec());
            }
            Ok(Dump {
                chunks: entries(CHUNKS)?,
                pages: entries(PAGES)?,
                adopted,
                records: self.records()?,
                used: self.segments()?,
                own: self
                    .sources()?
                    .into_iter()
                    .map(|(source, used)| (source, used.own_bytes))
                    .filter(|own| own.1 > 0)
                    .collect(),
                counted: self.counted()?,
                mark: self.mark()?,
            })
        })
    }
}

fn adopted_key(name: &Name, machine: MachineId) -> [u8; ADOPTED_LENGTH] {
    let mut key = [0; ADOPTED_LENGTH];
    key[..Name::LENGTH].copy_from_slice(&name.0);
    key[Name::LENGTH..].copy_from_slice(&machine.0.to_be_bytes());
    key
}

fn counted_key(point: PointKey) -> [u8; COUNTED_LENGTH] {
    let mut key = [0; COUNTED_LENGTH];
    key[..8].copy_from_slice(&point.source.0.to_be_bytes());
    key[8..].copy_from_slice(&point.number.to_be_bytes());
    key
}

/// Everything that a catalog holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Dump {
    /// Chunks.
    pub chunks: Vec<(Name, Entry)>,
    /// Pages.
    pub pages: Vec<(Name, Entry)>,
    /// Keys of further owners.
    pub adopted: Vec<Vec<u8>>,
    /// Sealed records.
    pub records: Vec<Stored>,
    /// What segments hold, where there is anything.
    pub used: Vec<(SegmentNumber, Use)>,
    /// Bytes that sources hold alone, where there are any.
    pub own: Vec<(SourceId, u64)>,
    /// Points that are counted.
    pub counted: BTreeSet<PointKey>,
    /// The mark.
    pub mark: Mark,
}

#[cfg(test)]
mod tests {
    use medium::sim::{Fault, FaultPlan, SimDisk};
    use model::CommitNumber;

    use super::*;

    #[test]
    fn a_catalog_of_another_version_is_made_anew() {
        let disk = SimDisk::new(1);
        let catalog = Catalog::make(&disk).unwrap();
        let mark = Mark { commit: CommitNumber(7), ..Mark::default() };
        catalog.write(&Batch::default(), &mark).unwrap();
        drop(catalog);
        let open = || Catalog::open(&disk, Check::Whole).unwrap();
        let catalog = open();
        assert_eq!(catalog.mark().unwrap(), mark, "it is of this version");
        let write = catalog.database().unwrap().begin_write().unwrap();
        write.open_table(STATE).unwrap().remove(VERSION).unwrap();
        write.commit().unwrap();
        drop(catalog);
        assert_eq!(
            Catalog::open_above(&disk, None).unwrap().mark().unwrap(),
            Mark::default(),
            "also on a full drive"
        );
        assert_eq!(open().mark().unwrap(), Mark::default(), "it had no version, as the first one had not");
        assert_eq!(disk.list("").unwrap(), [CATALOG], "the other one is gone");
    }

    #[test]
    fn after_a_failed_call_it_has_to_be_opened_again() {
        let disk = SimDisk::new(1);
        drop(Catalog::make(&disk).unwrap());
        let open = || Catalog::from_file(disk.open(CATALOG, Access::ReadWrite).unwrap()).unwrap();
        let catalog = open();
        disk.fail(FaultPlan::once(Fault::Error, disk.operations() + 1));
        assert!(!catalog.is_failed() && catalog.write(&Batch::default(), &Mark::default()).is_err());
        assert!(catalog.is_failed() && catalog.write(&Batch::default(), &Mark::default()).is_err());
        drop(catalog);
        let catalog = open();
        assert!(catalog.records().is_ok_and(|records| records.is_empty()) && !catalog.is_failed());
    }
}
