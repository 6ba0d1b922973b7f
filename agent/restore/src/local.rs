//! What the target has, followed along with a walk over the point.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use model::EntryName;
use rustix::fs::{FileType, Mode, Stat, chmod};
use rustix::io::{Errno, Result};

use crate::beneath;
use crate::directories::{Directories, DirectoryId};

/// What has the name of a directory of the point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Nothing, so nothing below it is there either.
    Nothing,
    /// A directory.
    Directory,
    /// Something else.
    Obstacle(FileType),
}

/// The directories of the target that correspond to the directories that a walk is in.
pub(crate) struct Local {
    directories: Option<Directories>,
    /// For each directory that the walk is in: the number of the one in the target, if there is one.
    stack: Vec<Option<DirectoryId>>,
}

impl Local {
    /// Starts above the target, which may not exist.
    pub(crate) fn new(root: Option<Arc<OwnedFd>>) -> Self {
        Self { directories: root.map(Directories::new), stack: Vec::new() }
    }

    /// Follows the walk into a directory; without a name, into the target itself.
    ///
    /// After a failure there is nothing there. A directory that denies access is opened up if it is ours: a restore
    /// that was broken off may have finished it.
    pub(crate) fn enter(&mut self, name: Option<&EntryName>, is_ours: bool) -> Result<Entered> {
        let found = self.look_up(name, is_ours);
        self.stack.push(found.as_ref().ok().and_then(|(_, id)| *id));
        found.map(|(entered, _)| entered)
    }

    fn look_up(&mut self, name: Option<&EntryName>, is_ours: bool) -> Result<(Entered, Option<DirectoryId>)> {
        let Some(name) = name else {
            let id = self.directories.is_some().then_some(0);
            return Ok((if id.is_some() { Entered::Directory } else { Entered::Nothing }, id));
        };
        let (Some(Some(parent)), Some(directories)) = (self.stack.last(), &mut self.directories) else {
            return Ok((Entered::Nothing, None));
        };
        let above = directories.open(*parent)?;
        match beneath::stat(&above, name.as_bytes())?.map(|stat| beneath::file_type(&stat)) {
            None => Ok((Entered::Nothing, None)),
            Some(FileType::Directory) => {
                let descriptor = match beneath::open_directory(&above, name.as_bytes()) {
                    Err(Errno::ACCESS) if is_ours => {
                        let closed = beneath::refer(&above, name.as_bytes())?;
                        chmod(beneath::path_of(&closed), Mode::RWXU)?;
                        beneath::open_directory(&above, name.as_bytes())?
                    }
                    answer => answer?,
                };
                let id = directories.add(*parent, name.clone());
                directories.keep(id, Arc::new(descriptor));
                Ok((Entered::Directory, Some(id)))
            }
            Some(kind) => Ok((Entered::Obstacle(kind), None)),
        }
    }

    /// Follows the walk back to the directory above.
    pub(crate) fn leave(&mut self) {
        if let (Some(Some(_)), Some(directories)) = (self.stack.pop(), &mut self.directories) {
            directories.pop();
        }
    }

    /// The directory of the target that corresponds to where the walk is.
    pub(crate) fn here(&mut self) -> Result<Option<Arc<OwnedFd>>> {
        match (self.stack.last(), &mut self.directories) {
            (Some(Some(id)), Some(directories)) => directories.open(*id).map(Some),
            _ => Ok(None),
        }
    }

    /// What has a name there.
    pub(crate) fn stat(&mut self, name: &EntryName) -> Result<Option<Stat>> {
        match self.here()? {
            Some(here) => beneath::stat(&here, name.as_bytes()),
            None => Ok(None),
        }
    }
}
