//! The set as a disk: names of files and directories.

use std::fmt;
use std::io;
use std::sync::Arc;

use medium::{Access, Demand, Disk, DiskError, DiskPath, File, Lock, Operation, Space};
use model::ErrorKind;

use crate::DriveSet;
use crate::copies::OpenCopy;
use crate::file::SetFile;
use crate::layout::{Class, SEGMENTS, is_reserved, segment_name};
use crate::marks::mark_name;
use crate::member::Member;
use crate::node::Node;
use crate::set::{Shared, locked, no_copy};

/// A lock that is held on every member.
struct SetLock(#[expect(dead_code, reason = "held until dropped")] Vec<Box<dyn Lock>>);

impl Lock for SetLock {}

impl fmt::Debug for SetLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetLock")
    }
}

pub(crate) fn error(operation: Operation, path: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::failed(operation, path, kind)
}

/// Parses the path of something that the caller may see.
fn parse(operation: Operation, path: &str, entry: bool) -> Result<(), DiskError> {
    let parsed = if entry { DiskPath::parse_entry(path)? } else { DiskPath::parse(path)? };
    if !is_reserved(parsed.as_str()) {
        return Ok(());
    }
    match operation {
        Operation::Open | Operation::List | Operation::Remove => {
            Err(error(operation, path, io::ErrorKind::NotFound))
        }
        _ => Err(DiskError::Path { path: path.to_owned(), reason: "is kept for the set of drives" }),
    }
}

impl Shared {
    /// The members that have files of a class, or would have.
    pub(crate) fn members_of(&self, class: Class) -> Vec<Arc<Member>> {
        let state = self.state();
        match class {
            Class::Segment(number) => state
                .segments
                .get(&number)
                .map(|segment| state.serving_of(&segment.holders))
                .unwrap_or_default(),
            Class::Catalog => state.homes(),
            Class::Everywhere => state.serving(),
        }
    }

    /// The members in service, and those of them that are a home of the catalog.
    pub(crate) fn serving_and_homes(&self) -> (Vec<Arc<Member>>, Vec<Arc<Member>>) {
        let state = self.state();
        (state.serving(), state.homes())
    }

    /// The open file at a path, or one that stands for it.
    pub(crate) fn node_at(&self, class: Class, path: &str, holders: Vec<Arc<Member>>) -> Arc<Node> {
        let mut state = self.state();
        if let Some(node) = state.node(path) {
            return node;
        }
        let node = Node::new(class, path, holders);
        state.nodes.insert(path.to_owned(), Arc::downgrade(&node));
        if state.nodes.len().is_multiple_of(64) {
            state.nodes.retain(|_, node| node.strong_count() > 0);
        }
        node
    }

    /// Opens the copies of a file.
    pub(crate) fn open_file(self: &Arc<Self>, path: &str, access: Access) -> Result<SetFile, DiskError> {
        let class = Class::of(path);
        self.make_even(class, path)?;
        let members = self.members_of(class);
        let given = match class {
            Class::Segment(number) => self.state().group_giving(number).is_some(),
            _ => false,
        };
        if members.is_empty() && !given {
            return Err(error(Operation::Open, path, io::ErrorKind::NotFound));
        }
        let files = match access {
            _ if members.is_empty() => Vec::new(),
            Access::ReadWrite => self.on_each(&members, |member| member.disk.open(path, access))?,
            Access::Read => match open_some(&members, path) {
                Err(_) if given => Vec::new(),
                files => files?,
            },
        };
        let holders = files.iter().map(|(member, _)| member.clone()).collect();
        let node = self.node_at(class, path, holders);
        Ok(SetFile::new(self, node, path, access, files))
    }

    /// Takes a file out of what is known and open.
    pub(crate) fn forget_path(&self, path: &str) -> Option<Arc<Node>> {
        let node = self.state().nodes.remove(path)?.upgrade()?;
        let mut state = node.state();
        state.removed = true;
        state.growing = None;
        drop(state);
        Some(node)
    }
}

/// Opens the copies that can be opened for reading.
fn open_some(members: &[Arc<Member>], path: &str) -> Result<Vec<OpenCopy>, DiskError> {
    let (mut files, mut missing, mut failure) = (Vec::new(), None, None);
    for member in members {
        match member.disk.open(path, Access::Read) {
            Ok(file) => files.push((member.clone(), file)),
            Err(error) if error.kind() == ErrorKind::Missing => missing = Some(error),
            Err(error) => {
                member.count_read_error();
                failure = Some(error);
            }
        }
    }
    match (files.is_empty(), missing.or(failure)) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(no_copy(Operation::Open, path)),
        (false, _) => Ok(files),
    }
}

/// The answer of the first member that gives one.
pub(crate) fn first_answer<T>(
    members: &[Arc<Member>],
    operation: Operation,
    path: &str,
    ask: impl Fn(&Member) -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    let mut failure = None;
    for member in members {
        match ask(member) {
            Err(error) if error.kind() == ErrorKind::Io => {
                member.count_read_error();
                failure = failure.or(Some(error));
            }
            answer => return answer,
        }
    }
    Err(failure.unwrap_or_else(|| no_copy(operation, path)))
}

impl Disk for DriveSet {
    fn create(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        parse(Operation::Create, path, true)?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        match Class::of(path) {
            Class::Segment(number) => self.shared.create_segment(number, path),
            class => self.shared.create_mirrored(class, path),
        }
    }

    fn open(&self, path: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        parse(Operation::Open, path, true)?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        Ok(Arc::new(self.shared.open_file(path, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        parse(Operation::Rename, from, true)?;
        parse(Operation::Rename, to, true)?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let (old, new) = (Class::of(from), Class::of(to));
        if old != new || matches!(old, Class::Segment(_)) {
            // Nothing is renamed to where it would be kept on other members.
            let both = format!("{from} -> {to}");
            return Err(error(Operation::Rename, &both, io::ErrorKind::CrossesDevices));
        }
        self.shared.rename_mirrored(old, from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        parse(Operation::Remove, path, true)?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        let class = Class::of(path);
        if let Class::Segment(number) = class {
            return self.shared.remove_segment(number, path);
        }
        if path == SEGMENTS && !self.shared.state().segments.is_empty() {
            return Err(error(Operation::Remove, path, io::ErrorKind::DirectoryNotEmpty));
        }
        let members = self.shared.members_of(class);
        if let Some(name) = mark_name(class) {
            self.shared.mark_on(&name, &members)?;
            self.shared.state().closed.insert(path.to_owned());
        }
        self.shared.on_each(&members, |member| member.disk.remove(path))?;
        self.shared.forget_path(path);
        Ok(())
    }

    fn make_directory(&self, path: &str) -> Result<(), DiskError> {
        parse(Operation::MakeDirectory, path, true)?;
        let _names = locked(&self.shared.names);
        let serving = self.shared.state().serving();
        self.shared.on_each(&serving, |member| member.disk.make_directory(path)).map(drop)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        parse(Operation::List, directory, false)?;
        let _names = locked(&self.shared.names);
        let (serving, homes) = self.shared.serving_and_homes();
        let list = |members: &[Arc<Member>]| {
            first_answer(members, Operation::List, directory, |member| member.disk.list(directory))
        };
        let mut names = list(&serving)?;
        match directory {
            "" => {
                names.retain(|name| !is_reserved(name) && Class::of(name) != Class::Catalog);
                names.extend(list(&homes)?.into_iter().filter(|name| Class::of(name) == Class::Catalog));
            }
            SEGMENTS => {
                names.retain(|name| crate::layout::segment_number(name).is_none());
                let state = self.shared.state();
                let there = state.segments.iter().filter(|(_, segment)| state.ways(segment) > 0);
                names.extend(there.map(|(number, _)| segment_name(*number)));
            }
            _ => return Ok(names),
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_directory(&self, directory: &str) -> Result<(), DiskError> {
        parse(Operation::SyncDirectory, directory, false)?;
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
        if directory == SEGMENTS {
            return self.shared.sync_segments();
        }
        let serving = self.shared.state().serving();
        self.shared.on_each(&serving, |member| member.disk.sync_directory(directory)).map(drop)
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>, DiskError> {
        parse(Operation::Lock, path, true)?;
        let _names = locked(&self.shared.names);
        let serving = self.shared.state().serving();
        let mut held = None;
        let locks = self.shared.on_each(&serving, |member| match member.disk.lock(path) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                held = Some(error);
                Ok(None)
            }
            lock => lock.map(Some),
        })?;
        match held {
            Some(error) => Err(error),
            None => Ok(Box::new(SetLock(locks.into_iter().filter_map(|(_, lock)| lock).collect()))),
        }
    }

    fn start_over(&self) {
        let _names = locked(&self.shared.names);
        let state = self.shared.state();
        state.serving().iter().for_each(|member| member.start_over());
    }

    fn ask(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        parse(Operation::Create, path, true)?;
        let _names = locked(&self.shared.names);
        self.shared.take_demand(path, demand)
    }

    fn asked_all(&self, is_all: bool) -> Result<(), DiskError> {
        let _names = locked(&self.shared.names);
        self.shared.believe_demands(is_all)
    }

    fn space(&self) -> Result<Space, DiskError> {
        let state = self.shared.state();
        let (members, policy) = (state.taking(), state.record.policy);
        drop(state);
        let spaces: Vec<Space> = members.iter().filter_map(|member| member.disk.space().ok()).collect();
        if spaces.is_empty() {
            return Err(no_copy(Operation::Space, ""));
        }
        let room = |of: fn(&Space) -> u64| policy.room(&spaces.iter().map(of).collect::<Vec<_>>());
        let capacity_bytes = room(|space| space.capacity_bytes);
        let available_bytes = room(|space| space.available_bytes).min(capacity_bytes);
        Ok(Space { capacity_bytes, available_bytes })
    }
}

impl Drop for DriveSet {
    fn drop(&mut self) {
        // What is being copied has files of the set open, which would keep its drives.
        *locked(&self.shared.work) = crate::work::Work::default();
        let _names = locked(&self.shared.names);
        self.shared.settle_closed();
    }
}
