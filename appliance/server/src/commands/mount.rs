//! `keepfast mount`: all points as folders on the appliance.

use std::path::Path;
use std::sync::Arc;

use link::{Connection, LastingArchive};
use model::archive::Archive;
use terminal::Done;

use crate::access::Access;
use crate::cli::Data;
use crate::data::DataDirectory;

pub(crate) fn run(directory: &Path, data: &Data) -> anyhow::Result<Done> {
    // Either way has to outlive the mount: a program that is asked may be started again, a pool that is open here stays so.
    let access = Access::open(&data.data)?;
    let archive: Arc<dyn Archive> = match &access {
        Access::Socket(_) => {
            let socket = DataDirectory::new(&data.data).socket();
            Arc::new(LastingArchive::connect(move || Connection::local(&socket))?)
        }
        Access::Direct(_) => access.archive(),
    };
    fuse::show(archive, directory, &*terminal::stop_flag()?)?;
    Ok(Done::Whole)
}
