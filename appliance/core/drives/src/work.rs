//! What the set does beside being read and written, in bounded pieces, the most urgent first.
//!
//! 1. Copies that may differ are made equal.
//! 2. What has too few copies on members that stay is copied; the catalog is given the homes that it should have.
//! 3. Parity that was lost is made anew, and segments that were removed are taken out of it.
//! 4. What a member that came back held is compared, and taken over or removed.
//! 5. Copies that are too many are removed, and a retiring member that holds nothing is let go of.
//! 6. Sealed segments are put under parity.
//! 7. Parity is given up whose segments are to be kept otherwise, a group at a time: its segments are copied as in 2 first.
//!
//! Beside that all parity is read now and then.
//!
//! Nothing of this is remembered on the drives: after a crash the same need is found again. A copy that is being made has
//! another name until it is whole, durable and read back.

mod checking;
mod choosing;
mod converting;
mod copying;
mod encoding;
mod grouping;
mod returning;
mod surplus;

use std::collections::BTreeSet;
use std::sync::Arc;

use medium::DiskError;
use model::SegmentNumber;

use crate::layout::segment_path;
use crate::set::{Shared, locked};
use crate::{DriveSet, DriveUuid};

pub use checking::ParityCheck;

use checking::Checked;
use copying::Copying;
use encoding::Encoding;

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it worked on; nothing if there is nothing to do.
    pub task: Option<Task>,
    /// Bytes that were written, or read to compare.
    pub bytes: u64,
}

/// What a step works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Copies of a segment are made equal after a crash.
    Evening {
        /// Which one.
        segment: SegmentNumber,
    },
    /// A segment is copied to another member.
    Copying {
        /// Which one.
        segment: SegmentNumber,
        /// Where to.
        to: DriveUuid,
    },
    /// The catalog is copied to another member.
    CopyingCatalog {
        /// Where to.
        to: DriveUuid,
    },
    /// Parity is made, or made anew.
    Parity {
        /// The group.
        group: u64,
        /// What is under it.
        segments: Vec<SegmentNumber>,
    },
    /// Parity was given up because its segments are to be kept otherwise.
    Dissolving {
        /// The group.
        group: u64,
    },
    /// A segment on a member that came back is compared with what the set has.
    Comparing {
        /// Which one.
        segment: SegmentNumber,
        /// On which member.
        on: DriveUuid,
    },
    /// Copies that are not needed are removed.
    Removing {
        /// On which member.
        from: DriveUuid,
    },
    /// A member holds nothing any more and was let go of.
    Retired {
        /// Which one.
        drive: DriveUuid,
    },
}

/// What a step goes on with.
#[derive(Default)]
pub(crate) struct Work {
    copying: Option<Copying>,
    encoding: Option<Encoding>,
    /// Groups for which no parity could be made.
    barred: BTreeSet<u64>,
    /// Segments that could not be put under parity.
    ungrouped: BTreeSet<SegmentNumber>,
    /// Copies that did not succeed, and the epoch in which they were tried.
    failed: BTreeSet<(Option<SegmentNumber>, usize)>,
    /// The last group that was taken up to be given up.
    converted: Option<u64>,
    /// How far parity is checked.
    checked: Option<Checked>,
    epoch: u64,
}

impl Work {
    fn forget_failures(&mut self) {
        self.failed.clear();
        self.barred.clear();
        self.ungrouped.clear();
        self.converted = None;
    }
}

impl DriveSet {
    /// Has what did not succeed tried again. A change of the members does that as well; whoever knows the time does it now
    /// and then.
    pub fn try_again(&self) {
        locked(&self.shared.work).forget_failures();
    }

    /// Does one piece of work, of about so many bytes; `is_sealed` says which segments nobody will write any more. May be
    /// called at any time, and not be called for any time.
    pub fn step(
        &self,
        budget_bytes: u64,
        is_sealed: &dyn Fn(SegmentNumber) -> bool,
    ) -> Result<Step, DiskError> {
        let mut work = locked(&self.shared.work);
        let epoch = self.epoch();
        if work.epoch != epoch {
            work.forget_failures();
            work.epoch = epoch;
        }
        {
            let _names = locked(&self.shared.names);
            self.shared.settle_closed();
        }
        loop {
            let step = self.try_step(&mut work, budget_bytes, is_sealed)?;
            if step.task.is_some() || !self.shared.convert_next(&mut work) {
                return Ok(step);
            }
        }
    }

    fn try_step(
        &self,
        work: &mut Work,
        budget_bytes: u64,
        is_sealed: &dyn Fn(SegmentNumber) -> bool,
    ) -> Result<Step, DiskError> {
        if let Some(copying) = work.copying.take() {
            return self.shared.go_on_copying(work, copying, budget_bytes);
        }
        if let Some(encoding) = work.encoding.take() {
            return self.shared.go_on_encoding(work, encoding, budget_bytes);
        }
        if let Some(step) = self.shared.even_one()? {
            return Ok(step);
        }
        if let Some(copying) = self.shared.plan_copy(&work.failed)? {
            return self.shared.go_on_copying(work, copying, budget_bytes);
        }
        if let Some(step) = self.shared.finish_converting()? {
            return Ok(step);
        }
        if let Some(encoding) = self.shared.plan_parity(work)? {
            return self.shared.go_on_encoding(work, encoding, budget_bytes);
        }
        if let Some(step) = self.shared.compare_one()? {
            return Ok(step);
        }
        if let Some(step) = self.shared.remove_surplus()? {
            return Ok(step);
        }
        let names = locked(&self.shared.names);
        let planned = self.shared.plan_group(work, is_sealed)?;
        drop(names);
        if let Some(encoding) = planned {
            return self.shared.go_on_encoding(work, encoding, budget_bytes);
        }
        Ok(Step { task: None, bytes: 0 })
    }
}

impl Shared {
    /// Gives up parity that protects nothing, and finds parity that is to be made anew.
    fn plan_parity(self: &Arc<Self>, work: &mut Work) -> Result<Option<Encoding>, DiskError> {
        let _names = locked(&self.names);
        let suspect = std::mem::take(&mut self.state().suspect);
        suspect.into_iter().try_for_each(|group| self.dissolve(group))?;
        self.plan_repair(work)
    }

    /// Makes the copies of one segment equal that may differ.
    fn even_one(self: &Arc<Self>) -> Result<Option<Step>, DiskError> {
        let uneven: Vec<SegmentNumber> = {
            let state = self.state();
            state.segments.iter().filter(|(_, segment)| segment.uneven).map(|(number, _)| *number).collect()
        };
        for number in uneven {
            let path = segment_path(number);
            let _names = locked(&self.names);
            self.make_even(crate::layout::Class::Segment(number), &path)?;
            let even = self.state().segments.get(&number).is_none_or(|segment| !segment.uneven);
            if even {
                return Ok(Some(Step { task: Some(Task::Evening { segment: number }), bytes: 0 }));
            }
        }
        Ok(None)
    }
}
