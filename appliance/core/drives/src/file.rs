//! An open file of the set: writes go to all copies, reads take the first copy that delivers.
//!
//! A change counts as done when every copy that is left has it: a member on which it failed falls out before the call
//! returns. When it fails on all, nobody falls out and the caller is told; the copies may differ then, and are made
//! equal before the file is opened again.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use medium::{Access, DiskError, File, Operation};
use model::ErrorKind;

use crate::layout::Class;
use crate::member::Member;
use crate::node::{Node, NodeState};
use crate::parity::GroupReader;
use crate::planted::{self, Bug};
use crate::set::{Shared, locked, no_copy};

/// Bytes that a drive or its file system reads and writes at once at least.
const SECTOR: u64 = 4096;

/// A copy that a handle has open.
#[derive(Clone)]
struct Copy {
    member: Arc<Member>,
    file: Arc<dyn File>,
    /// The generation of the file in which it was opened.
    opened: u64,
}

/// The copies that a handle has open.
#[derive(Default)]
struct Opened {
    generation: u64,
    copies: Vec<Copy>,
}

/// An open file of the set.
pub(crate) struct SetFile {
    shared: Arc<Shared>,
    pub(crate) node: Arc<Node>,
    path: Box<str>,
    access: Access,
    opened: Mutex<Opened>,
    /// The group of the segment, once it was needed.
    reader: Mutex<Option<Arc<GroupReader>>>,
}

impl SetFile {
    /// A handle with these files, one on each of some members.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        node: Arc<Node>,
        path: &str,
        access: Access,
        files: Vec<(Arc<Member>, Arc<dyn File>)>,
    ) -> Self {
        if access == Access::ReadWrite {
            node.state().writers += 1;
        }
        let generation = node.generation();
        let copy = |(member, file)| Copy { member, file, opened: generation };
        let opened = Mutex::new(Opened { generation, copies: files.into_iter().map(copy).collect() });
        Self { shared: shared.clone(), node, path: path.into(), access, opened, reader: Mutex::default() }
    }

    /// The copies that are left, and those that were made since the file was opened.
    fn copies(&self) -> Vec<Copy> {
        if locked(&self.opened).generation == self.node.generation() {
            return self.usable();
        }
        let state = self.node.state();
        self.copies_of(&state)
    }

    fn usable(&self) -> Vec<Copy> {
        locked(&self.opened).copies.iter().filter(|copy| copy.member.serves()).cloned().collect()
    }

    fn copies_of(&self, state: &NodeState) -> Vec<Copy> {
        let mut opened = locked(&self.opened);
        let generation = self.node.generation();
        if opened.generation != generation && !state.removed {
            let is_held = |copy: &Copy| state.since(&copy.member).is_some_and(|since| since <= copy.opened);
            opened.copies.retain(is_held);
            for member in state.serving() {
                if opened.copies.iter().any(|copy| Arc::ptr_eq(&copy.member, &member)) {
                    continue;
                }
                match member.disk.open(&state.path, self.access) {
                    Ok(file) => opened.copies.push(Copy { member, file, opened: generation }),
                    Err(_) => member.count_read_error(),
                }
            }
            opened.generation = generation;
        }
        drop(opened);
        self.usable()
    }

    /// Makes a change to all copies.
    fn change(
        &self,
        operation: Operation,
        state: &mut NodeState,
        act: impl Fn(&dyn File) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let copies = self.copies_of(state);
        let (mut failed, mut full, mut first) = (Vec::new(), None, None);
        for copy in &copies {
            match act(&*copy.file) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Full => full = Some(error),
                Err(error) => {
                    failed.push(copy.member.clone());
                    first = first.or(Some(error));
                }
            }
        }
        // A writer that was too slow to open a copy must not leave it behind.
        for member in state.serving() {
            if !copies.iter().any(|copy| Arc::ptr_eq(&copy.member, &member)) && !state.removed {
                failed.push(member);
            }
        }
        if operation == Operation::Sync && copies.is_empty() && !state.unsynced && self.group().is_some() {
            return Ok(());
        }
        if failed.len() >= copies.len().max(state.serving().len()) || copies.is_empty() {
            failed.iter().for_each(|member| member.count_write_error());
            failed.iter().for_each(|member| member.avoid());
            state.uneven = true;
            return Err(first.unwrap_or_else(|| no_copy(operation, &self.path)));
        }
        if !failed.is_empty() {
            self.shared.fall_out(&failed).inspect_err(|_| state.uneven = true)?;
        }
        if let Some(error) = full {
            state.uneven = true;
            return Err(error);
        }
        Ok(())
    }

    fn check_writable(&self, operation: Operation) -> Result<(), DiskError> {
        const EBADF: i32 = 9;
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                Err(DiskError::failed(operation, &*self.path, io::Error::from_raw_os_error(EBADF)))
            }
        }
    }

    /// Makes a change of bytes or length, which is marked first and goes to the copy that is being made as well.
    fn write(
        &self,
        operation: Operation,
        act: impl Fn(&dyn File) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.check_writable(operation)?;
        let mut state = self.node.state();
        if !state.removed {
            self.shared.mark(&self.node, &state)?;
        }
        state.unsynced = true;
        self.change(operation, &mut state, &act)?;
        if state.growing.as_ref().is_some_and(|growing| act(&*growing.file).is_err()) {
            state.growing = None;
        }
        Ok(())
    }

    /// Reads while nobody writes.
    pub(crate) fn read_holding(
        &self,
        state: &NodeState,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        self.read_from(&self.copies_of(state), offset, buffer)
    }

    /// The length while nobody writes.
    pub(crate) fn length_of(&self, state: &NodeState) -> Result<u64, DiskError> {
        self.length_from(&self.copies_of(state))
    }

    /// The ranges of a buffer that cannot be read, in a grain.
    pub(crate) fn unreadable_of(
        &self,
        state: &NodeState,
        offset: u64,
        buffer: &mut [u8],
        grain: u64,
    ) -> Vec<Range<u64>> {
        let copies = self.copies_of(state);
        let mut at = offset;
        let mut ranges = Vec::new();
        for part in buffer.chunks_mut(usize::try_from(grain).unwrap_or(1)) {
            let end = at + part.len() as u64;
            if self.read_from(&copies, at, part).is_err() {
                ranges.push(at..end);
            }
            at = end;
        }
        ranges
    }

    fn read_from(&self, copies: &[Copy], offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let mut errors = Vec::new();
        for copy in copies {
            match copy.file.read_at(offset, buffer) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if error.kind() != ErrorKind::Missing {
                        copy.member.count_read_error();
                    }
                    errors.push(error);
                }
            }
        }
        match self.group() {
            Some((id, slot)) => self.reconstruct(id, slot, offset, buffer).map_err(|error| {
                errors.push(error);
                self.unread(errors)
            }),
            None => Err(self.unread(errors)),
        }
    }

    /// The group that gives the segment, and its slot there.
    fn group(&self) -> Option<(u64, usize)> {
        match self.node.class {
            Class::Segment(number) => self.shared.state().group_giving(number),
            _ => None,
        }
    }

    /// Reads through parity. What is open of the group is opened anew once if that does not do.
    fn reconstruct(&self, id: u64, slot: usize, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let known = locked(&self.reader).clone().filter(|reader| reader.id == id);
        if known.is_some_and(|reader| reader.reconstruct(slot, offset, buffer).is_ok()) {
            return Ok(());
        }
        let reader = Arc::new(self.shared.group_reader(id)?);
        *locked(&self.reader) = Some(reader.clone());
        reader.reconstruct(slot, offset, buffer)
    }

    /// The length of the longest copy: a shorter one was cut off, and what it lacks is read from the others.
    fn length_from(&self, copies: &[Copy]) -> Result<u64, DiskError> {
        let (mut longest, mut errors) = (None, Vec::new());
        for copy in copies {
            match copy.file.length() {
                Ok(length) => longest = longest.max(Some(length)),
                Err(error) => errors.push(error),
            }
        }
        if let Some((id, slot)) = self.group() {
            let state = self.shared.state();
            let slot = state.groups.get(&id).and_then(|group| group.slots.get(slot).copied().flatten());
            longest = longest.max(slot.map(|slot| slot.length));
        }
        longest.ok_or_else(|| self.unread(errors))
    }

    /// The error of a read that no copy could serve: the one that says most.
    fn unread(&self, errors: Vec<DiskError>) -> DiskError {
        let worst = errors.into_iter().reduce(|known, error| {
            let better = known.kind() == ErrorKind::Missing && error.kind() != ErrorKind::Missing;
            if better { error } else { known }
        });
        worst.unwrap_or_else(|| no_copy(Operation::Read, &self.path))
    }

    /// Writes `bytes` over one of some copies that has something else there; whether it had.
    fn mend_copy(
        &self,
        copies: &[Copy],
        copy: &Copy,
        path: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<bool, DiskError> {
        let mut found = vec![0; bytes.len()];
        copy.file.forget_cached()?;
        if copy.file.read_at(offset, &mut found).is_ok() && found == bytes {
            return Ok(false);
        }
        let file = copy.member.disk.open(path, Access::ReadWrite)?;
        if file.write_at(offset, bytes).is_err() {
            // To write a part of a block the rest is read, which fails where the drive cannot read it.
            let start = offset / SECTOR * SECTOR;
            let end = (offset + bytes.len() as u64).next_multiple_of(SECTOR).min(file.length()?);
            let mut blocks = vec![0; usize::try_from(end - start).unwrap_or(0)];
            self.read_from(copies, start, &mut blocks)?;
            let at = usize::try_from(offset - start).unwrap_or(0);
            if let Some(part) = blocks.get_mut(at..at + bytes.len()) {
                part.copy_from_slice(bytes);
            }
            file.write_at(start, &blocks)?;
        }
        file.sync_data()?;
        file.forget_cached()?;
        file.read_at(offset, &mut found)?;
        copy.member.count_mended();
        Ok(found == bytes)
    }
}

impl File for SetFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.read_from(&self.copies(), offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(Operation::Write, |file| file.write_at(offset, bytes))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let mut state = self.node.state();
        if !state.unsynced && self.group().is_some() {
            // It was durable when it came under parity. A drive that fails at this moment takes nothing with it.
            return Ok(());
        }
        self.change(Operation::Sync, &mut state, |file| file.sync_data())?;
        state.unsynced = false;
        Ok(())
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        *locked(&self.reader) = None;
        let results: Vec<_> = self.copies().iter().map(|copy| copy.file.forget_cached()).collect();
        if results.iter().any(Result::is_ok) {
            return Ok(());
        }
        results.into_iter().next().unwrap_or(Ok(()))
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.length_from(&self.copies())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.write(Operation::SetLength, |file| file.set_length(length))
    }

    fn copies(&self) -> u32 {
        u32::try_from(self.copies().len() + usize::from(self.group().is_some())).unwrap_or(u32::MAX)
    }

    fn whole_copies(&self) -> u32 {
        u32::try_from(self.copies().len()).unwrap_or(u32::MAX)
    }

    fn read_copy(&self, copy: u32, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let copies = self.copies();
        let place = usize::try_from(copy).unwrap_or(usize::MAX);
        if let (true, Some((id, slot))) = (place == copies.len(), self.group()) {
            return self.reconstruct(id, slot, offset, buffer);
        }
        let copy = copies.get(place).ok_or_else(|| no_copy(Operation::Read, &self.path))?;
        copy.file.read_at(offset, buffer).inspect_err(|_| copy.member.count_read_error())
    }

    fn mend(&self, offset: u64, bytes: &[u8]) -> Result<u32, DiskError> {
        if planted::has(Bug::MendNothing) {
            return Ok(0);
        }
        let state = self.node.state();
        let copies = self.copies_of(&state);
        let (mut mended, mut failure) = (0, None);
        for copy in &copies {
            match self.mend_copy(&copies, copy, &state.path, offset, bytes) {
                Ok(changed) => mended += u32::from(changed),
                Err(error) => {
                    copy.member.count_write_error();
                    failure = Some(error);
                }
            }
        }
        if let Some((id, slot)) = self.group() {
            // Parity that was made of other bytes protects nothing.
            let mut found = vec![0; bytes.len()];
            if self.reconstruct(id, slot, offset, &mut found).is_ok() && found != bytes {
                self.shared.state().suspect.insert(id);
            }
        }
        match failure {
            Some(error) if mended == 0 => Err(error),
            _ => Ok(mended),
        }
    }

    fn advise_written(&self, range: Range<u64>) {
        self.copies().iter().for_each(|copy| copy.file.advise_written(range.clone()));
    }
}

impl Drop for SetFile {
    fn drop(&mut self) {
        if self.access == Access::ReadWrite {
            let mut state = self.node.state();
            state.writers = state.writers.saturating_sub(1);
            let path = state.path.clone();
            let uneven = (state.unsynced || state.uneven) && !state.removed;
            drop(state);
            self.shared.let_go(self.node.class, path, uneven);
        }
    }
}

impl fmt::Debug for SetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetFile")
            .field("path", &self.path)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
