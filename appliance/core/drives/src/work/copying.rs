//! Making a further copy, also of a file that is being written.
//!
//! From the moment on when the copy is begun, whoever writes the file writes to the copy as well; what was there before is
//! copied block by block, each while nobody writes. Then all of it is read back and compared the same way. Only a copy that
//! is whole gets its name. Ranges that no other copy gives are listed, and the copy is not made: what there is stays.

use std::ops::Range;
use std::sync::Arc;

use medium::{Access, DiskError, File};
use model::{ErrorKind, SegmentNumber};

use super::{Shared, Step, Task, Work};
use crate::copies::{buffer, making_path, part, publish};
use crate::file::SetFile;
use crate::layout::{CATALOG_MARK, Class, WRITING, segment_name, segment_path};
use crate::member::Member;
use crate::node::{Growing, Node};
use crate::set::locked;
use crate::superblock::remove_if_there;

/// The grain in which unreadable ranges are listed.
const GRAIN: u64 = 4096;

/// One file of a copy.
struct Growth {
    path: String,
    node: Arc<Node>,
    source: SetFile,
    target: Arc<dyn File>,
    written: u64,
    compared: u64,
}

/// A copy that is being made of a segment, or of all files of the catalog.
pub(super) struct Copying {
    segment: Option<SegmentNumber>,
    member: Arc<Member>,
    growths: Vec<Growth>,
    /// What could not be read.
    unreadable: Vec<Range<u64>>,
}

/// How far a piece of work came.
enum Progress {
    /// There is more.
    More,
    /// All is there.
    Whole,
    /// It does not succeed.
    Failed,
}

impl Copying {
    fn task(&self) -> Task {
        let to = self.member.drive;
        match self.segment {
            Some(segment) => Task::Copying { segment, to },
            None => Task::CopyingCatalog { to },
        }
    }

    /// Does about so many bytes.
    fn advance(&mut self, budget: u64, done: &mut u64) -> Progress {
        for growth in &mut self.growths {
            match growth.advance(budget, done, &mut self.unreadable) {
                Progress::Whole => {}
                other => return other,
            }
        }
        if self.unreadable.is_empty() { Progress::Whole } else { Progress::Failed }
    }

    /// Ends it without a copy.
    fn abandon(&self) {
        for growth in &self.growths {
            growth.node.state().growing = None;
            // What stays is removed at the next opening.
            let _ = self.member.disk.remove(&making_path(&growth.path));
        }
    }
}

impl Growth {
    fn advance(&mut self, budget: u64, done: &mut u64, unreadable: &mut Vec<Range<u64>>) -> Progress {
        // It may grow meanwhile.
        let length = self.source.length().unwrap_or(0).max(GRAIN);
        let (mut buffer, mut found) = (buffer(length), buffer(length));
        loop {
            if *done >= budget {
                return Progress::More;
            }
            // Nobody writes the file while a block is copied or compared.
            let state = self.node.state();
            if state.removed || state.growing.is_none() {
                return Progress::Failed;
            }
            let Ok(length) = self.source.length_of(&state) else { return Progress::Failed };
            if self.written >= length && !unreadable.is_empty() {
                return Progress::Failed;
            }
            let at = if self.written < length { self.written } else { self.compared };
            if at >= length {
                return match self.target.length() {
                    Ok(other) if other == length => Progress::Whole,
                    _ if self.compared == 0 && self.target.set_length(length).is_ok() => Progress::Whole,
                    _ => Progress::Failed,
                };
            }
            let part = part(&mut buffer, length - at);
            let read = self.source.read_holding(&state, at, part);
            if read.is_err() {
                unreadable.extend(self.source.unreadable_of(&state, at, part, GRAIN));
            }
            let end = at + part.len() as u64;
            if self.written < length {
                let missing = read.is_err();
                if !missing && self.target.write_at(at, part).is_err() {
                    return Progress::Failed;
                }
                self.written = end;
                if self.written == length
                    && (self.target.sync_data().is_err() || self.target.forget_cached().is_err())
                {
                    return Progress::Failed;
                }
            } else {
                let found = self::part(&mut found, length - at);
                if read.is_err() || self.target.read_at(at, found).is_err() || part != found {
                    return Progress::Failed;
                }
                self.compared = end;
            }
            *done += end - at;
        }
    }
}

impl Shared {
    /// The most urgent copy that is to be made.
    pub(super) fn plan_copy(
        self: &Arc<Self>,
        failed: &std::collections::BTreeSet<(Option<SegmentNumber>, usize)>,
    ) -> Result<Option<Copying>, DiskError> {
        let (few, homes, staying, wanted) = {
            let state = self.state();
            let staying: Vec<usize> = state.staying().iter().map(|member| member.index).collect();
            let safe = |holders: &std::collections::BTreeSet<usize>| {
                staying.iter().filter(|i| holders.contains(i)).count()
            };
            let mut few: Vec<(usize, SegmentNumber)> = state
                .segments
                .iter()
                .filter(|(_, s)| !s.uneven && state.ways(s) > 0)
                .filter(|(number, s)| match state.group_of(s) {
                    Some((group, slot)) => state.unplaced(group).contains(&slot),
                    None => safe(&s.holders) < state.copies_wanted(**number),
                })
                .map(|(number, segment)| (state.ways(segment), *number))
                .collect();
            few.sort_unstable();
            let homes: Vec<usize> = state.homes().iter().map(|member| member.index).collect();
            (few, homes, staying, state.catalogs_wanted())
        };
        let _names = locked(&self.names);
        for (_, number) in few {
            for member in self.candidates(number) {
                let held =
                    self.state().segments.get(&number).is_none_or(|s| s.holders.contains(&member.index));
                if held
                    || self.is_beside_shard(number, member.index)
                    || failed.contains(&(Some(number), member.index))
                {
                    continue;
                }
                if let Ok(copying) = self.begin_copy(Some(number), member, vec![segment_path(number)]) {
                    return Ok(Some(copying));
                }
            }
        }
        let stays = homes.iter().filter(|index| staying.contains(index)).count();
        if stays < wanted {
            for member in self.candidates(SegmentNumber(0)) {
                if homes.contains(&member.index) || failed.contains(&(None, member.index)) {
                    continue;
                }
                let names = self.catalog_files()?;
                if let Ok(copying) = self.begin_copy(None, member, names) {
                    return Ok(Some(copying));
                }
            }
        }
        Ok(None)
    }

    /// Whether a member is the place of another shard of the group of a segment.
    fn is_beside_shard(&self, number: SegmentNumber, index: usize) -> bool {
        let state = self.state();
        let group = state.segments.get(&number).and_then(|segment| state.group_of(segment));
        group.is_some_and(|(group, _)| state.taken(group).contains(&index))
    }

    /// Names of the catalog's files.
    fn catalog_files(&self) -> Result<Vec<String>, DiskError> {
        let homes = self.state().homes();
        let names =
            crate::names::first_answer(&homes, medium::Operation::List, "", |member| member.disk.list(""))?;
        Ok(names.into_iter().filter(|name| Class::of(name) == Class::Catalog).collect())
    }

    fn begin_copy(
        self: &Arc<Self>,
        segment: Option<SegmentNumber>,
        member: Arc<Member>,
        paths: Vec<String>,
    ) -> Result<Copying, DiskError> {
        let mut copying =
            Copying { segment, member: member.clone(), growths: Vec::new(), unreadable: Vec::new() };
        for path in paths {
            let begun = self.begin_growth(&member, path);
            match begun {
                Ok(growth) => copying.growths.push(growth),
                Err(error) => {
                    copying.abandon();
                    return Err(error);
                }
            }
        }
        Ok(copying)
    }

    fn begin_growth(self: &Arc<Self>, member: &Arc<Member>, path: String) -> Result<Growth, DiskError> {
        let source = self.open_file(&path, Access::Read)?;
        let temporary = making_path(&path);
        remove_if_there(&*member.disk, &temporary)?;
        let target = member.disk.create(&temporary)?;
        let node = source.node.clone();
        node.state().growing = Some(Growing { file: target.clone() });
        Ok(Growth { path, node, source, target, written: 0, compared: 0 })
    }

    /// Goes on with a copy, and ends it if it is whole or does not succeed.
    pub(super) fn go_on_copying(
        self: &Arc<Self>,
        work: &mut Work,
        mut copying: Copying,
        budget: u64,
    ) -> Result<Step, DiskError> {
        let mut bytes = 0;
        let task = Some(copying.task());
        let whole = match copying.advance(budget.max(1), &mut bytes) {
            Progress::More => {
                work.copying = Some(copying);
                return Ok(Step { task, bytes });
            }
            Progress::Whole => self.finish_copy(&copying),
            Progress::Failed => Ok(false),
        };
        if !matches!(whole, Ok(true)) {
            copying.abandon();
            work.failed.insert((copying.segment, copying.member.index));
            if let Some(number) = copying.segment
                && let Some(segment) = self.state().segments.get_mut(&number)
            {
                segment.unreadable = join(std::mem::take(&mut copying.unreadable));
            }
        }
        whole.map(|_| Step { task, bytes })
    }

    /// Gives a whole copy its name; false if it does not succeed.
    fn finish_copy(self: &Arc<Self>, copying: &Copying) -> Result<bool, DiskError> {
        let _names = locked(&self.names);
        if copying.segment.is_none()
            && !self.catalog_files()?.iter().eq(copying.growths.iter().map(|g| &g.path))
        {
            return Ok(false);
        }
        let member = &copying.member;
        let name = copying.segment.map_or_else(|| CATALOG_MARK.to_owned(), segment_name);
        let mut states: Vec<_> = copying.growths.iter().map(|growth| growth.node.state()).collect();
        let named = |growth: &Growth| -> Result<(), DiskError> {
            growth.target.sync_data()?;
            publish(member, &making_path(&growth.path), &growth.path)
        };
        let lost = copying.growths.iter().zip(&states).any(|(growth, state)| {
            state.removed
                || state.growing.is_none()
                || growth.source.length_of(state).ok() != growth.target.length().ok()
        });
        if lost || !member.serves() {
            return Ok(false);
        }
        let marked = self.state().marked.contains(&name);
        let put = if marked { member.note(WRITING, &name) } else { Ok(()) };
        if let Err(error) = put.and_then(|()| copying.growths.iter().try_for_each(named)) {
            if error.kind() == ErrorKind::Io {
                member.avoid();
                member.count_write_error();
            }
            return Ok(false);
        }
        for (growth, state) in copying.growths.iter().zip(&mut states) {
            state.growing = None;
            growth.node.add_holder(state, member.clone());
        }
        let mut state = self.state();
        match copying.segment {
            Some(number) => {
                if let Some(segment) = state.segments.get_mut(&number) {
                    segment.holders.insert(member.index);
                    segment.unreadable.clear();
                }
            }
            None => {
                if let Some(entry) = state.record.members.get_mut(member.index) {
                    entry.catalog = true;
                }
                self.commit_members(&mut state)?;
            }
        }
        Ok(true)
    }
}

/// Joins ranges that touch.
fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
