//! Reading and checking, beside everything else. It marks places and changes nothing else.

use crate::{Actor, Name, Outcome, State, Stopped};

impl Actor {
    /// Checks a name where it is. Two reads that the device made and that did not verify are a verdict.
    pub fn scrub(&self, name: Name) -> Result<(), Stopped> {
        let Some(place) = self.step(|state| state.place(name))? else { return Ok(()) };
        for _ in 0..2 {
            match self.step(|state| state.drive.read(name, place))? {
                Outcome::Rotten => {}
                Outcome::Failed if !self.step(|state| state.guards.failed_read_is_no_verdict)? => {}
                Outcome::Gone => {
                    return self.step(|state| {
                        let is_missing = state.place(name) == Some(place);
                        assert!(!is_missing, "violation: {name:?} is missing at {place:?}");
                    });
                }
                Outcome::Sound(_) | Outcome::Failed => return Ok(()),
            }
        }
        self.step(|state: &mut State| {
            let found = if state.guards.verdict_names_place { Some(place) } else { state.place(name) };
            state.bad.extend(found);
            if state.guards.verdict_empties_cache {
                state.cached.remove(&name);
            }
            state.saw("verdict");
        })
    }
}
