//! Segments that are to be kept otherwise than the rest, because somebody who has something in them asks for it.
//!
//! What is asked is not stored: whoever knows it says it at every opening. That somebody ever asked is in the superblocks,
//! so that no copy and no parity goes before all was said again.

use medium::{Demand, DiskError};
use model::SegmentNumber;

use crate::Policy;
use crate::layout::Class;
use crate::set::{Shared, State};

impl Shared {
    /// Takes in how a file is wanted kept. Only segments are kept otherwise than the rest.
    pub(crate) fn take_demand(&self, path: &str, demand: Demand) -> Result<(), DiskError> {
        let Class::Segment(number) = Class::of(path) else { return Ok(()) };
        let mut state = self.state();
        if demand.asked.is_none() {
            state.asked.remove(&number);
            return Ok(());
        }
        state.asked.insert(number, demand);
        self.note_asked(&mut state, true)
    }

    /// Whether everything was asked for that is wanted.
    pub(crate) fn believe_demands(&self, is_all: bool) -> Result<(), DiskError> {
        let mut state = self.state();
        state.knows_asked = is_all;
        if !is_all {
            return Ok(());
        }
        let is_asked = !state.asked.is_empty();
        self.note_asked(&mut state, is_asked)
    }

    /// Has the superblocks say whether somebody asks for something.
    fn note_asked(&self, state: &mut State, is_asked: bool) -> Result<(), DiskError> {
        if state.record.is_asked == is_asked {
            return Ok(());
        }
        state.record.is_asked = is_asked;
        // What is not written down is not so.
        self.commit_members(state).inspect_err(|_| state.record.is_asked = !is_asked)
    }
}

impl State {
    /// How a segment is to be kept.
    pub(crate) fn policy_of(&self, number: SegmentNumber) -> Policy {
        self.asked.get(&number).map_or(self.record.policy, |demand| self.settled(*demand))
    }

    fn settled(&self, demand: Demand) -> Policy {
        let usual = self.record.policy.into();
        let wanted = demand.settle(usual);
        if wanted == usual { self.record.policy } else { wanted.into() }
    }

    /// All ways in which segments are to be kept, that of the rest among them.
    pub(crate) fn policies(&self) -> Vec<Policy> {
        let mut policies = vec![self.record.policy];
        for demand in self.asked.values() {
            let policy = self.settled(*demand);
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        policies
    }

    /// Whether something may go of which there is more than is wanted.
    pub(crate) const fn may_reduce(&self) -> bool {
        self.knows_asked || !self.record.is_asked
    }

    /// Copies that a segment should have which is not under parity, and that the members in service allow.
    pub(crate) fn copies_wanted(&self, number: SegmentNumber) -> usize {
        self.policy_of(number).copies().min(self.staying().len()).max(1)
    }

    /// Copies that the catalog should have: as many as that of which there are most, for nothing is found without it.
    pub(crate) fn catalogs_wanted(&self) -> usize {
        let most = self.policies().into_iter().map(Policy::copies).max().unwrap_or(1);
        most.min(self.staying().len()).max(1)
    }
}
