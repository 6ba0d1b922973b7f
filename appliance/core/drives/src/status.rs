//! What the set says about its members and about what it holds.

use std::ops::Range;

use medium::Space;
use model::SegmentNumber;

use crate::layout::segment_path;
use crate::member::Errors;
use crate::superblock::MemberState;
use crate::{DriveSet, DriveUuid, Policy, PoolUuid};

/// A member, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which one.
    pub drive: DriveUuid,
    /// What it is to the set.
    pub state: MemberState,
    /// The epoch from which on it is that.
    pub since: u64,
    /// Whether it has the catalog.
    pub catalog: bool,
    /// Its room, if it is in service and says.
    pub space: Option<Space>,
    /// Segments with a copy on it.
    pub segments: usize,
    /// Those of them that have fewer copies than they should.
    pub segments_at_risk: usize,
    /// Errors since the set was opened, or since it came into service.
    pub errors: Errors,
}

/// A file that has fewer copies than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtRisk {
    /// Which one.
    pub path: String,
    /// Copies there are: how many drives may be lost with it still there, and one.
    pub copies: usize,
    /// Copies there should be.
    pub wanted: usize,
    /// Ranges that no copy gives, as far as somebody tried to copy them.
    pub lost: Vec<Range<u64>>,
}

impl DriveSet {
    /// The pool that the set belongs to.
    #[must_use]
    pub fn pool(&self) -> PoolUuid {
        self.shared.pool
    }

    /// How often what is stored is kept.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.shared.state().record.policy
    }

    /// How a segment is kept, by who has something in it.
    #[must_use]
    pub fn policy_of(&self, segment: SegmentNumber) -> Policy {
        self.shared.state().policy_of(segment)
    }

    /// Drives that are needed so that everything is kept as it should be.
    #[must_use]
    pub fn drives_needed(&self) -> usize {
        self.shared.state().policies().into_iter().map(Policy::drives).max().unwrap_or(1)
    }

    /// Drives that are there for that: in service, and not to be emptied.
    #[must_use]
    pub fn drives_in_service(&self) -> usize {
        let state = self.shared.state();
        state.record.members.iter().filter(|entry| entry.state == MemberState::InService).count()
    }

    /// How often the members changed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.state().record.epoch().number
    }

    /// All members, those that are out or retired as well.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let state = self.shared.state();
        let is_at_risk =
            |number: &SegmentNumber, segment| state.ways(segment) < state.policy_of(*number).copies();
        let entries = state.record.members.iter().zip(&state.members).enumerate();
        let status = entries.map(|(index, (entry, member))| {
            let held = state.segments.iter().filter(|(_, segment)| segment.holders.contains(&index));
            let (segments, segments_at_risk) = held
                .fold((0, 0), |(all, few), (number, s)| (all + 1, few + usize::from(is_at_risk(number, s))));
            MemberStatus {
                drive: entry.drive,
                state: entry.state,
                since: entry.since,
                catalog: entry.catalog,
                space: member.as_ref().and_then(|member| member.disk.space().ok()),
                segments,
                segments_at_risk,
                errors: member.as_ref().map(|member| member.errors()).unwrap_or_default(),
            }
        });
        status.collect()
    }

    /// Segments that no member gives, not in parts either.
    #[must_use]
    pub fn lost(&self) -> Vec<SegmentNumber> {
        let state = self.shared.state();
        let lost = state.segments.iter().filter(|(_, segment)| state.ways(segment) == 0);
        lost.map(|(number, _)| *number).collect()
    }

    /// What has fewer copies than it should, or none, or cannot be read everywhere.
    #[must_use]
    pub fn at_risk(&self) -> Vec<AtRisk> {
        let state = self.shared.state();
        let few = state.segments.iter().filter_map(|(number, segment)| {
            let (copies, wanted) = (state.ways(segment), state.policy_of(*number).copies());
            let risk = copies < wanted || !segment.unreadable.is_empty();
            let lost = segment.unreadable.clone();
            risk.then(|| AtRisk { path: segment_path(*number), copies, wanted, lost })
        });
        few.collect()
    }
}
