//! The simulated disk as a [`Disk`].

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::FaultPlan;
use super::handle::{SimFile, SimLock};
use super::names::{Entry, Node};
use super::random::Random;
use super::world::{Verdict, World, io_error};
use crate::{Access, Disk, DiskError, DiskPath, File, Lock, Operation, Space};

/// A disk in memory that can crash and fail; clones are the same disk.
///
/// It does not poison anything by itself: stand [`Poisoning`](crate::Poisoning) around it, as around a
/// real one, unless what happens without is the question.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty disk. The seed decides what torn writes and failed syncs leave behind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(Random::new(seed)))
    }

    pub(super) fn of(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault to the plan; where several fit a call, the first one added strikes.
    pub fn fail(&self, plan: FaultPlan) {
        self.world().faults.push(plan);
    }

    /// Ends all faults. What they did stays, a crash as well.
    pub fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// Changes how much fits on the disk, in blocks of 4 KiB that hold anything; no file is longer.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity_bytes = bytes;
    }

    /// Changes and syncs so far, failed ones included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.world().reads
    }

    /// The last operations and failed reads, a line each, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.world().log.lines()
    }

    fn handle(&self, world: &mut World, node: Node, path: &str, access: Access) -> SimFile {
        world.files.entry(node).or_default().handles += 1;
        SimFile { disk: self.clone(), node, path: path.into(), access }
    }
}

impl World {
    /// Counts a change of names and carries it out.
    fn change_names<T>(
        &mut self,
        operation: Operation,
        path: &str,
        act: impl FnOnce(&mut Self, u64) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        if self.begin(operation, &path.into(), None)? != Verdict::Proceed {
            return Err(io_error(operation, path));
        }
        let number = self.operations;
        act(self, number).map_err(|source| DiskError::failed(operation, path, source))
    }

    /// Makes a file under a name that is free.
    fn create(&mut self, path: DiskPath<'_>) -> Result<Node, DiskError> {
        self.change_names(Operation::Create, path.as_str(), |world, number| {
            let node = world.next_node();
            world.names.add(number, path, Entry { node, directory: false })?;
            Ok(node)
        })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        let parsed = DiskPath::parse_entry(path)?;
        let mut world = self.world();
        let node = world.create(parsed)?;
        Ok(Arc::new(self.handle(&mut world, node, path, Access::ReadWrite)))
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let parsed = DiskPath::parse_entry(path)?;
        let mut world = self.world();
        world.check_power(Operation::Open, path)?;
        let found = world.names.file(parsed);
        let node = found.map_err(|source| DiskError::failed(Operation::Open, path, source))?;
        Ok(Arc::new(self.handle(&mut world, node, path, access)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (DiskPath::parse_entry(from)?, DiskPath::parse_entry(to)?);
        self.world().change_names(Operation::Rename, &format!("{from} -> {to}"), |world, number| {
            world.names.rename(number, old, new)
        })
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let parsed = DiskPath::parse_entry(path)?;
        self.world().change_names(Operation::Remove, path, |world, number| world.names.remove(number, parsed))
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        let parsed = DiskPath::parse_entry(path)?;
        self.world().change_names(Operation::MakeDirectory, path, |world, number| {
            if world.names.directory(parsed).is_ok() {
                return Ok(());
            }
            let node = world.next_node();
            world.names.add(number, parsed, Entry { node, directory: true })
        })
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let parsed = DiskPath::parse(directory)?;
        let world = self.world();
        world.check_power(Operation::List, directory)?;
        let found = world.names.directory(parsed);
        let node = found.map_err(|source| DiskError::failed(Operation::List, directory, source))?;
        Ok(world.names.list(node))
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        let failed = |source| DiskError::failed(Operation::SyncDirectory, directory, source);
        let parsed = DiskPath::parse(directory)?;
        let mut world = self.world();
        let verdict = world.begin(Operation::SyncDirectory, &directory.into(), None)?;
        let node = world.names.directory(parsed).map_err(failed)?;
        let World { names, random, .. } = &mut *world;
        match verdict {
            Verdict::Proceed => names.sync(node),
            Verdict::Lie => {}
            _ => {
                names.fail_sync(node, random);
                return Err(io_error(Operation::SyncDirectory, directory));
            }
        }
        world.collect();
        Ok(())
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        let parsed = DiskPath::parse_entry(path)?;
        let failed = |source| DiskError::failed(Operation::Lock, path, source);
        let mut world = self.world();
        world.check_power(Operation::Lock, path)?;
        let node = match world.names.file(parsed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => world.create(parsed)?,
            found => found.map_err(failed)?,
        };
        if !world.locks.insert(node) {
            return Err(DiskError::Held { path: path.to_owned() });
        }
        Ok(Box::new(SimLock(self.handle(&mut world, node, path, Access::Read))))
    }

    fn space(&self) -> Result<Space, DiskError> {
        let world = self.world();
        world.check_power(Operation::Space, "")?;
        let capacity_bytes = world.capacity_bytes;
        Ok(Space { capacity_bytes, available_bytes: capacity_bytes.saturating_sub(world.used_bytes()) })
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("SimDisk").field("operations", &world.operations).finish_non_exhaustive()
    }
}
