//! A file without a name, for what is worth nothing when the program ends.

use std::path::Path;
use std::sync::Arc;

use medium::{DiskError, File, Operation};

use crate::file::HostFile;

/// Makes an empty file in a directory. It has no name, or none for long, and goes with the last who holds it.
pub fn scratch_file(directory: &Path) -> Result<Arc<dyn File>, DiskError> {
    let shown = directory.to_string_lossy();
    let file = tempfile::tempfile_in(directory);
    let file = file.map_err(|source| DiskError::failed(Operation::Create, shown.clone(), source))?;
    Ok(Arc::new(HostFile::new(file, &shown)))
}
