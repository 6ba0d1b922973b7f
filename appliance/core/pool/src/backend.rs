//! redb over a file of the medium, so that the catalog lives through the simulated world as well.

use std::fmt;
use std::io;
use std::sync::Arc;

use medium::{DiskError, File};
use model::ErrorKind;

/// The file of the catalog as redb wants it. The pool's own lock keeps others away.
pub(crate) struct CatalogFile(pub(crate) Arc<dyn File>);

impl fmt::Debug for CatalogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatalogFile")
    }
}

/// Keeps the kind of an error where redb carries `io::Error` only.
fn io_error(error: DiskError) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Full => io::ErrorKind::StorageFull,
        ErrorKind::Missing => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl redb::StorageBackend for CatalogFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.length().map_err(io_error)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read_at(offset, out).map_err(io_error)
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.0.set_length(length).map_err(io_error)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data().map_err(io_error)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write_at(offset, data).map_err(io_error)
    }
}
