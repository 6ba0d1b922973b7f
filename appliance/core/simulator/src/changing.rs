//! What happens to the drives, as steps of a history: the set works, drives are lost, put back, replaced, added and emptied.

use std::sync::Arc;

use drives::Task;

use crate::bays::failed;
use crate::history::{Failure, History};

/// Most pieces of work of one step.
const PIECES_MAX: u64 = 24;

impl History {
    /// One step of what is done with several drives.
    pub(crate) fn change_drives(&mut self) -> Result<(), Failure> {
        let seed = self.random.draw();
        let (random, bays) = (&mut self.random, &mut self.host.bays);
        let done = match random.below(24) {
            0..=13 => return self.work(),
            14..=15 if !self.is_faulty => bays.lose(random),
            16..=19 => bays.put_back(random, seed),
            20 => bays.add(seed),
            21..=23 if !self.is_faulty => bays.retire(random),
            _ => Ok(()),
        };
        done.map_err(Failure::Operating)
    }

    /// Some pieces of what the set does beside being read and written.
    fn work(&mut self) -> Result<(), Failure> {
        self.activity = self.host.bays.work_to_do();
        let Some(set) = self.host.bays.set() else { return Ok(()) };
        let shared = Arc::clone(self.pool()?.shared());
        let budget = [1, 1, 64 << 10, 1 << 20][self.random.index(4)];
        let mut is_parity = false;
        for _ in 0..=self.random.below(PIECES_MAX) {
            if self.random.chance(if is_parity { 30 } else { 1 }) {
                // Few changes are made here, and it matters most between which of them the power goes.
                self.host.bays.cut_within(self.random.below(40));
            }
            let before = self.host.bays.at_risk_while_emptying();
            let step = set.step(budget, &|segment| shared.is_sealed(segment));
            let step = step.map_err(|error| Failure::Operating(failed(&error)))?;
            is_parity = matches!(step.task, Some(Task::Parity { .. }));
            match step.task {
                Some(Task::Retired { .. }) if before.is_some_and(|before| set.at_risk().len() > before) => {
                    return Err(Failure::Breach("a drive was let go of that had what is needed".into()));
                }
                Some(Task::Retired { .. }) => self.host.bays.fates.evacuated += 1,
                Some(_) => {}
                None => break,
            }
            // What is at risk may be less after each piece, and also more.
            self.host.bays.look();
        }
        Ok(())
    }
}
