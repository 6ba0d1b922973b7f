//! Open files and held locks of a simulated disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::disk::SimDisk;
use super::file::{FileState, SECTOR};
use super::names::Node;
use super::world::{Verdict, World, io_error, no_space};
use crate::{Access, DiskError, File, Lock, Operation};

/// An open file of a [`SimDisk`].
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) node: Node,
    pub(super) path: Arc<str>,
    pub(super) access: Access,
}

impl SimFile {
    fn check_writable(&self, operation: Operation) -> Result<(), DiskError> {
        const EBADF: i32 = 9;
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                Err(DiskError::failed(operation, &*self.path, io::Error::from_raw_os_error(EBADF)))
            }
        }
    }

    /// Writes at once what a short or torn write leaves, sector by sector.
    fn write_torn(&self, world: &mut World, offset: u64, bytes: &[u8], verdict: Verdict) {
        let number = world.operations;
        let mut random = world.random.split();
        let file = state(world, self.node);
        if verdict == Verdict::Short {
            file.write(number, offset, &bytes[..random.index(bytes.len())]);
            return;
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = usize::try_from(SECTOR - at % SECTOR).expect("a sector is small");
            let (part, after) = rest.split_at(rest.len().min(room));
            if random.chance(50) {
                file.write(number, at, part);
            }
            at += part.len() as u64;
            rest = after;
        }
    }
}

/// The state of a file that is held open.
fn state(world: &mut World, node: Node) -> &mut FileState {
    world.files.get_mut(&node).expect("a file with a handle is never forgotten")
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let mut world = self.disk.world();
        let end = offset.saturating_add(buffer.len() as u64);
        if world.begin(Operation::Read, &self.path, Some((offset, end)))? != Verdict::Proceed {
            return Err(io_error(Operation::Read, &self.path));
        }
        let content = state(&mut world, self.node).live();
        if content.read(offset, buffer) {
            return Ok(());
        }
        let (path, length) = (self.path.to_string(), content.length());
        Err(DiskError::UnexpectedEnd { path, start: offset, end, length })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_writable(Operation::Write)?;
        let mut world = self.disk.world();
        let end = offset.saturating_add(bytes.len() as u64);
        let verdict = world.begin(Operation::Write, &self.path, Some((offset, end)))?;
        if end > world.capacity_bytes {
            return Err(no_space(Operation::Write, &self.path));
        }
        let growth = state(&mut world, self.node).live().growth(offset, bytes.len());
        if !world.has_room(growth) {
            return Err(no_space(Operation::Write, &self.path));
        }
        let number = world.operations;
        match verdict {
            Verdict::Proceed => {
                state(&mut world, self.node).write(number, offset, bytes);
                return Ok(());
            }
            Verdict::Short | Verdict::Torn => self.write_torn(&mut world, offset, bytes, verdict),
            Verdict::Fail | Verdict::Lie => {}
        }
        Err(io_error(Operation::Write, &self.path))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let mut world = self.disk.world();
        let verdict = world.begin(Operation::Sync, &self.path, None)?;
        let mut random = world.random.split();
        let file = state(&mut world, self.node);
        match verdict {
            Verdict::Proceed => file.sync(),
            Verdict::Lie => {}
            _ => {
                file.fail_sync(&mut random);
                return Err(io_error(Operation::Sync, &self.path));
            }
        }
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        let mut world = self.disk.world();
        world.check_power(Operation::Forget, &self.path)?;
        state(&mut world, self.node).forget_cached();
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let mut world = self.disk.world();
        world.check_power(Operation::Length, &self.path)?;
        Ok(state(&mut world, self.node).live().length())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.check_writable(Operation::SetLength)?;
        let mut world = self.disk.world();
        let verdict = world.begin(Operation::SetLength, &self.path, Some((length, length)))?;
        if verdict != Verdict::Proceed {
            return Err(io_error(Operation::SetLength, &self.path));
        }
        if length > world.capacity_bytes {
            return Err(no_space(Operation::SetLength, &self.path));
        }
        let number = world.operations;
        state(&mut world, self.node).set_length(number, length);
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        state(&mut self.disk.world(), self.node).handles -= 1;
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).field("access", &self.access).finish()
    }
}

/// A held lock of a [`SimDisk`].
#[derive(Debug)]
pub(super) struct SimLock(pub(super) SimFile);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.disk.world().locks.remove(&self.0.node);
    }
}
