//! The end of a process, and opening the pool after it.
//!
//! Opening reads the log from the catalog's mark, counts, and only then forgets the places in removed segments: the
//! counter may still need pages that lie there. Then the catalog is flushed, and only then files are unlinked.

use shuttle::sync::Arc;

use crate::check::chance;
use crate::{Catalog, Pool, State};

/// What a crash takes away besides memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// What was not durable.
    Unsynced,
    /// That, and the catalog.
    Catalog,
    /// That; and perhaps the catalog, perhaps the unlinking of files, as chance has it.
    Chance,
}

impl Pool {
    /// The process dies and another one opens the pool; while it does it may die again.
    pub fn crash(self: &Arc<Self>, loss: Loss) {
        self.step(|state| state.saw("crashed"));
        for _ in 0..3 {
            self.step(|state| {
                state.lose(loss);
                state.leases.clear();
                state.sessions.clear();
            });
            self.step(State::replay);
            self.step(State::flush);
            if chance() {
                continue;
            }
            self.step(State::unlink);
            if chance() {
                self.step(|state| state.drive.unlinked.clear());
                return;
            }
        }
        self.step(|state| {
            state.unlink();
            state.drive.unlinked.clear();
        });
    }

    /// The pool is opened again by the process that has it, after a failed write.
    pub fn reopen(&self) {
        self.step(|state| {
            state.lose(Loss::Unsynced);
            if state.guards.reopening_ends_sessions {
                for session in state.sessions.keys().copied().collect::<Vec<_>>() {
                    state.end(session);
                }
            }
            if !state.guards.reopening_keeps_leases {
                state.leases.clear();
            }
            state.replay();
            state.flush();
            state.unlink();
            state.drive.unlinked.clear();
            state.saw("reopened");
        });
    }
}

impl State {
    /// What is lost with the memory of the pool, and what the drive loses.
    fn lose(&mut self, loss: Loss) {
        self.openings += 1;
        self.drive.lose(loss == Loss::Chance && chance());
        let loses_catalog = loss == Loss::Catalog || loss == Loss::Chance && chance();
        self.catalog = if loses_catalog { Catalog::default() } else { self.drive.catalog.clone() };
        if loses_catalog {
            self.drive.catalog = Catalog::default();
            self.saw("rebuilt");
        }
        self.recent.clear();
        self.open = None;
        self.condemned.clear();
        self.promised.clear();
        self.going.clear();
        self.bad.clear();
        self.cached.clear();
    }

    /// Reads the log from the mark on, and counts.
    fn replay(&mut self) {
        let guards = self.guards;
        while let Some(commit) = self.drive.log.get(self.catalog.commits).cloned() {
            self.catalog.apply(&commit);
            if !guards.counts_before_settling {
                self.catalog.settle(&guards);
            }
        }
        let parked = std::mem::take(&mut self.catalog.ledger.parked);
        self.catalog.ledger.queue.extend(parked.into_iter().map(crate::Event::Remove));
        if guards.dropped_are_not_counted {
            let leases = &self.leases;
            self.catalog.ledger.cancel(|point| guards.leased_are_counted && leases.contains_key(&point));
        }
        while self.count_one() {}
        self.catalog.settle(&guards);
        let (generation, names) = &self.drive.cache;
        if *generation == self.catalog.removed.len() || !guards.cache_has_generation {
            self.cached.clone_from(names);
        }
    }
}
