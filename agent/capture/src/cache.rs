//! The cache: what the newest point holds, so that a scan can tell what changed without asking the appliance.
//!
//! One redb file for each source. It is true only together with the continuity token of the point that it
//! describes; with another token, or damaged, or lost, it is void and everything is compared by reading. Nothing
//! in it is needed to restore. It changes in one transaction, after the appliance has made the point; until
//! then the changes stand in a [log](crate::log) beside it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `header` | - | token, next object number |
//! | `entries` | directory, name | record (see [`crate::record`]); the root is directory 0 with an empty name |
//! | `contents` | object, number of piece | runs of a long file |
//! | `directories` | device, inode | key of the entry of a directory |
//! | `linked` | object, key of an entry | - ; the names of objects with several |
//! | `resume` | device, inode, number of piece | runs that a broken backup has read and sent |

mod commit;
mod resume;
mod snapshot;

use std::path::{Path, PathBuf};

use model::ObjectId;
use model::codec::{Fields, put_number};
use model::record::Label;
use redb::{Database, ReadableDatabase, TableDefinition};

pub(crate) use snapshot::{Entries, Snapshot};

use crate::record::{open, put_bytes, seal, take_bytes};
use crate::{BackupError, CacheError};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const HEADER: Table = TableDefinition::new("header");
const ENTRIES: Table = TableDefinition::new("entries");
const CONTENTS: Table = TableDefinition::new("contents");
const DIRECTORIES: Table = TableDefinition::new("directories");
const LINKED: Table = TableDefinition::new("linked");
const RESUME: Table = TableDefinition::new("resume");
const TABLES: [Table; 6] = [HEADER, ENTRIES, CONTENTS, DIRECTORIES, LINKED, RESUME];

const HEADER_KEY: &[u8] = b"header 1";
/// The name under which the root of a source stands in `entries`.
pub(crate) const ROOT_PARENT: ObjectId = ObjectId(0);

/// The folder of all caches of an agent.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Caches in `folder`, which is made when it is needed.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Forgets everything about a source. Its next backup compares everything by reading.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn forget(&self, source: &Label) -> Result<(), BackupError> {
        let paths = Paths::new(&self.folder, source);
        paths.remove_all().map_err(|error| paths.problem(error.into()))
    }

    pub(crate) fn open(&self, source: &Label, memory_bytes: usize) -> Result<SourceCache, BackupError> {
        let paths = Paths::new(&self.folder, source);
        SourceCache::open(paths.clone(), memory_bytes).map_err(|error| paths.problem(error))
    }
}

/// The files of one source's cache.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    folder: PathBuf,
    pub(crate) database: PathBuf,
    unfinished: PathBuf,
    pub(crate) log: PathBuf,
}

impl Paths {
    fn new(folder: &Path, source: &Label) -> Self {
        let file = |ending: &str| folder.join(format!("{source}.{ending}"));
        let (database, unfinished, log) = (file("redb"), file("redb-new"), file("log"));
        Self { folder: folder.to_owned(), database, unfinished, log }
    }

    pub(crate) fn problem(&self, source: CacheError) -> BackupError {
        BackupError::Cache { path: self.database.clone(), source }
    }

    fn remove_all(&self) -> std::io::Result<()> {
        [&self.database, &self.unfinished, &self.log].into_iter().try_for_each(|path| remove(path))
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a cache says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The token of the point that it describes.
    pub(crate) continuity: Option<Vec<u8>>,
    /// The number that the next new object gets.
    pub(crate) next: ObjectId,
}

impl Header {
    /// The header of a cache that describes nothing.
    pub(crate) const fn void() -> Self {
        Self { continuity: None, next: ObjectId(ObjectId::ROOT.0 + 1) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        put_number(&mut out, self.next.0);
        if let Some(token) = &self.continuity {
            put_bytes(&mut out, token);
        }
        seal(HEADER_KEY, &mut out);
        out
    }

    fn decode(value: &[u8]) -> Result<Self, CacheError> {
        let mut fields = Fields::new(open(HEADER_KEY, value)?);
        let next = ObjectId(fields.number("header")?);
        let rest = fields.rest();
        let continuity = match rest {
            [] => None,
            _ => Some(take_bytes(&mut Fields::new(rest))?.to_vec()),
        };
        Ok(Self { continuity, next })
    }
}

/// The cache of one source, held by one backup.
pub(crate) struct SourceCache {
    pub(crate) paths: Paths,
    database: OpenDatabase,
    memory_bytes: usize,
}

/// A database that can be closed even when it has panicked.
struct OpenDatabase(Option<Database>);

impl OpenDatabase {
    fn get(&self) -> Result<&Database, CacheError> {
        self.0.as_ref().ok_or(CacheError::Damaged("the database"))
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        let database = self.0.take();
        // After a panic inside of it the database panics again when it is closed.
        let closing = guarded(|| {
            drop(database);
            Ok(())
        });
        if closing.is_err() {
            tracing::warn!("cache was not closed in order");
        }
    }
}

impl SourceCache {
    fn open(paths: Paths, memory_bytes: usize) -> Result<Self, CacheError> {
        std::fs::create_dir_all(&paths.folder)?;
        if paths.database.exists() {
            match guarded(|| open_existing(&paths.database, memory_bytes)) {
                Ok(database) => return Ok(Self { paths, database, memory_bytes }),
                Err(CacheError::Busy) => return Err(CacheError::Busy),
                Err(error) => {
                    let path = paths.database.display();
                    tracing::warn!(%path, error = %chain(&error), "cache cannot be used and is made anew");
                    paths.remove_all()?;
                }
            }
        }
        let database = OpenDatabase(Some(create(&paths, memory_bytes)?));
        Ok(Self { paths, database, memory_bytes })
    }

    /// Throws away everything and starts with an empty cache.
    pub(crate) fn discard(self) -> Result<Self, CacheError> {
        let Self { paths, database, memory_bytes } = self;
        drop(database);
        paths.remove_all()?;
        Self::open(paths, memory_bytes)
    }

    /// What the cache says, with the state itself only if it is the newest point's.
    ///
    /// Damage shows as an error or as a panic: see [`guarded`].
    pub(crate) fn header(&self) -> Result<Header, CacheError> {
        let transaction = self.database.get()?.begin_read()?;
        let table = transaction.open_table(HEADER)?;
        table.get(HEADER_KEY)?.map_or(Ok(Header::void()), |value| Header::decode(value.value()))
    }
}

fn builder(memory_bytes: usize) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(memory_bytes);
    builder
}

/// Opens a database and looks into every table, so that damage to its skeleton shows here.
fn open_existing(path: &Path, memory_bytes: usize) -> Result<OpenDatabase, CacheError> {
    let database = OpenDatabase(Some(builder(memory_bytes).open(path)?));
    let transaction = database.get()?.begin_read()?;
    for table in TABLES {
        transaction.open_table(table)?;
    }
    if let Some(value) = transaction.open_table(HEADER)?.get(HEADER_KEY)? {
        Header::decode(value.value())?;
    }
    transaction.close()?;
    Ok(database)
}

/// Makes a database under another name first: a file of this name is always whole.
fn create(paths: &Paths, memory_bytes: usize) -> Result<Database, CacheError> {
    remove(&paths.unfinished)?;
    let database = builder(memory_bytes).create(&paths.unfinished)?;
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    for table in TABLES {
        transaction.open_table(table)?;
    }
    transaction.commit()?;
    std::fs::rename(&paths.unfinished, &paths.database)?;
    std::fs::File::open(&paths.folder)?.sync_all()?;
    Ok(database)
}

/// Runs something that touches the database, which panics on some kinds of damage.
pub(crate) fn guarded<T>(action: impl FnOnce() -> Result<T, CacheError>) -> Result<T, CacheError> {
    // Whatever a panic leaves half done is thrown away with the whole cache.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(action))
        .unwrap_or(Err(CacheError::Damaged("the database")))
}

/// An error with all its causes, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    model::archive::ArchiveError::new(model::ErrorKind::Io, error).message
}

#[cfg(test)]
mod tests;
