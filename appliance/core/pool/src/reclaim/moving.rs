//! Copying what is needed out of a segment that goes.
//!
//! Every chunk is named anew on its way. A chunk is needed if something holds it, or it is promised to a backup, and it is
//! read from this very copy; what nobody needs goes with the segment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chunk::{Entry, FrameKind, Level, NamingKey, VerifiedBuilder};
use medium::Demand;
use model::{DomainId, MachineId, Name, SegmentNumber};

use crate::PoolError;
use crate::catalog::Place;
use crate::layout::{SEGMENT_HEADER_LENGTH, SegmentKind};
use crate::planted::Bug;
use crate::pool::Pool;
use crate::reader::OpenedFrame;
use crate::scan::Scan;
use crate::segment::FramePlace;

/// Whether a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that is needed of it is elsewhere.
    Goes,
    /// What cannot be read of it may be promised to a backup that is under way.
    PutOff,
}

/// What was copied out of segments.
#[derive(Default)]
pub(super) struct Moved {
    /// Chunks that are not written yet, by how they are wanted kept and by their owner.
    builders: BTreeMap<(Demand, MachineId), VerifiedBuilder>,
    /// The highest segment that something was taken from.
    highest: Option<SegmentNumber>,
    /// Chunks that go, with their lengths.
    pub(super) gone: Vec<(Name, u32)>,
    /// Segments of which not everything could be read.
    pub(super) unsure: BTreeSet<SegmentNumber>,
    /// Bytes that were copied.
    pub(super) copied: u64,
    /// Chunks that were copied only for backups.
    promised: HashSet<Name>,
}

impl Pool {
    /// Copies what is needed of a segment, which is `live` bytes.
    ///
    /// # Errors
    /// Also if not all of it is found: then the segment has to stay.
    pub(super) fn move_chunks(
        &mut self,
        number: SegmentNumber,
        live: u64,
        moved: &mut Moved,
    ) -> Result<Outcome, PoolError> {
        let shared = Arc::clone(self.shared());
        let of_unsure = || if shared.sessions.any_before(u64::MAX) { Outcome::PutOff } else { Outcome::Goes };
        let segment = match shared.frames.segment(number) {
            Err(error) if live == 0 && error.is_of_place() => {
                moved.unsure.insert(number);
                return Ok(of_unsure());
            }
            segment => segment?,
        };
        if segment.header.kind != SegmentKind::Data {
            return Err(PoolError::SegmentHeader { segment: number, what: "it is not one of data" });
        }
        let demand = shared.demand_of(number)?;
        moved.highest = moved.highest.max(Some(number));
        let end = shared.state().mark.length_of(number).unwrap_or(0);
        let mut scan = Scan::new(&*segment.file, SEGMENT_HEADER_LENGTH as u64, end);
        let (mut expected, mut found, mut problem) = (SEGMENT_HEADER_LENGTH as u64, 0, None);
        let mut gone = Vec::new();
        while let Some((offset, header)) = scan.next()? {
            if offset > expected {
                moved.unsure.insert(number);
            }
            expected = offset + header.padded_length() as u64;
            if header.kind() != FrameKind::Data {
                continue;
            }
            let place = FramePlace { segment: number, offset, sealed_length: header.sealed_length() };
            match shared.frames.read(place) {
                Ok(frame) => found += self.move_frame(place, &frame, demand, moved, &mut gone)?,
                Err(error) if error.is_of_place() => {
                    moved.unsure.insert(number);
                    problem.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if expected < end {
            moved.unsure.insert(number);
        }
        if found != live {
            let lost =
                PoolError::SegmentHeader { segment: number, what: "not all that is needed is found in it" };
            return Err(problem.unwrap_or(lost));
        }
        let outcome = if moved.unsure.contains(&number) { of_unsure() } else { Outcome::Goes };
        if outcome == Outcome::Goes {
            moved.gone.append(&mut gone);
        }
        Ok(outcome)
    }

    /// Copies what is needed of a frame, and notes what goes; how many bytes are needed.
    fn move_frame(
        &mut self,
        frame: FramePlace,
        opened: &OpenedFrame,
        demand: Demand,
        moved: &mut Moved,
        gone: &mut Vec<(Name, u32)>,
    ) -> Result<u64, PoolError> {
        let (mut needed, mut here) = (0, Vec::new());
        for (entry, range) in opened.table.iter().flat_map(chunk::Table::ranges) {
            let state = self.shared().state();
            let is_this = |place: &Place| place.frame == frame && place.start as usize == range.start;
            if let Some(place) = state.chunk(&entry.name)?.filter(is_this) {
                let is_held = state.references(&entry.name)? != 0;
                needed += if is_held { u64::from(entry.length) } else { 0 };
                here.push((entry, range, place, is_held));
            }
        }
        let unheld = here.iter().filter(|(.., is_held)| !is_held).map(|(entry, ..)| entry.name);
        let promised = self.decide(unheld);
        for (entry, range, place, is_held) in here {
            let is_promised = !is_held && promised.contains(&entry.name);
            if (!is_held && !is_promised) || self.planted().has(Bug::MoveNothing) {
                gone.push((entry.name, entry.length));
                continue;
            }
            moved.promised.extend(is_promised.then_some(entry.name));
            let bytes = opened.plaintext.get(range).unwrap_or_default();
            let key = self.naming_of(entry, place.owner, bytes, frame)?;
            moved.copied += u64::from(entry.length);
            self.copied_bytes += u64::from(entry.length);
            let builder = moved.builders.entry((demand, place.owner)).or_default();
            builder.push(&key, bytes)?;
            if builder.is_full() {
                self.store_bundle(demand, place.owner, moved.highest, builder, &moved.promised)?;
            }
        }
        Ok(needed)
    }

    /// Which chunks of a segment that is to go are promised to backups. Of the others nobody is told any more.
    fn decide(&self, names: impl Iterator<Item = Name>) -> HashSet<Name> {
        let mut state = self.shared().state_mut();
        let (promised, going): (HashSet<Name>, HashSet<Name>) =
            names.partition(|name| self.is_promised(name));
        state.going.extend(going);
        promised
    }

    /// Whether something is promised to a backup that is under way.
    pub(super) fn is_promised(&self, name: &Name) -> bool {
        self.shared().sessions.is_promised(name) && !self.planted().has(Bug::IgnoreSessions)
    }

    /// The key that names a chunk: that of its owner's domain, or of any if nobody knows who sent it.
    fn naming_of(
        &self,
        entry: &Entry,
        owner: MachineId,
        bytes: &[u8],
        frame: FramePlace,
    ) -> Result<NamingKey, PoolError> {
        let shared = self.shared();
        let domains: BTreeSet<DomainId> = shared.registry(|registry| {
            let of_owner = registry.machines.get(&owner).map(|machine| machine.domain);
            let all = registry.machines.values().map(|machine| machine.domain);
            of_owner.map_or_else(|| all.collect(), |domain| BTreeSet::from([domain]))
        });
        let keys = domains.into_iter().map(|domain| shared.keys.naming(domain));
        let wrong =
            PoolError::Name { what: "chunk", name: entry.name, segment: frame.segment, offset: frame.offset };
        keys.into_iter().find(|key| key.name(bytes) == entry.name).ok_or(wrong)
    }

    /// Writes what is left.
    pub(super) fn store_moved(&mut self, moved: &mut Moved) -> Result<(), PoolError> {
        for ((demand, owner), mut builder) in std::mem::take(&mut moved.builders) {
            if !builder.is_empty() {
                self.store_bundle(demand, owner, moved.highest, &mut builder, &moved.promised)?;
            }
        }
        Ok(())
    }

    fn store_bundle(
        &mut self,
        demand: Demand,
        owner: MachineId,
        above: Option<SegmentNumber>,
        builder: &mut VerifiedBuilder,
        promised: &HashSet<Name>,
    ) -> Result<(), PoolError> {
        let (bundle, segment) = self.guard(|pool| {
            let bundle = pool.finish_bundle(builder, Level::default())?;
            let segment = pool.append_chunks(owner, demand, above, &bundle)?;
            Ok((bundle, segment))
        })?;
        let for_backups = bundle.table().entries().iter().filter(|entry| promised.contains(&entry.name));
        let for_backups: Vec<_> = for_backups.map(|entry| (entry.name, u64::from(entry.length))).collect();
        self.shared().sessions.moved(&for_backups, segment);
        Ok(())
    }
}
