//! Reading a point: a lease, then places, then files, without the lock in between.

use crate::{Actor, Name, Outcome, PointId, Stopped};

/// Looks at a name before reading is given up: each time something has moved it.
const LOOKS_MAX: usize = 8;

impl Actor {
    /// Opens a point of history; the root of its tree.
    pub fn open(&self, point: PointId) -> Result<Name, Stopped> {
        let root = self.step(|state| {
            let root = *state.catalog.points.get(&point).ok_or(Stopped::Refused)?;
            if state.guards.opening_and_lease_are_one {
                state.lease(point);
            }
            Ok(root)
        })??;
        self.step(|state| {
            if !state.guards.opening_and_lease_are_one {
                state.lease(point);
            }
        })?;
        Ok(root)
    }

    /// Reads everything that a tree holds.
    pub fn read_tree(&self, root: Name) -> Result<(), Stopped> {
        for name in self.read(root)? {
            self.read(name)?;
        }
        Ok(())
    }

    /// Closes a point.
    pub fn close(&self, point: PointId) -> Result<(), Stopped> {
        self.step(|state| state.release(point))
    }

    /// Reads a name that is held: what it refers to.
    fn read(&self, name: Name) -> Result<Vec<Name>, Stopped> {
        let (mut place, guards) = self.step(|state| (state.place(name), state.guards))?;
        for _ in 0..LOOKS_MAX {
            let Some(looked) = place else { break };
            if let Outcome::Sound(refers) = self.step(|state| state.drive.read(name, looked))? {
                self.step(|state| state.saw("read"))?;
                return Ok(refers);
            }
            let again = if guards.looks_up_anew { self.step(|state| state.place(name))? } else { place };
            if again == place || !guards.looks_up_again {
                break;
            }
            self.step(|state| state.saw("looked up again"))?;
            place = again;
        }
        panic!("violation: a reader finds {name:?} damaged, at {place:?}")
    }
}
