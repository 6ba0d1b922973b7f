//! A backup session: asks what is known, stores the rest, and commits a point; or breaks off; or is fenced.

use crate::{Actor, Name, PointId, Record, State, Stopped};

/// A session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub(crate) u32);

/// What the pool keeps of a session while it lasts.
#[derive(Clone, Debug)]
pub struct Session {
    /// The epoch in which it began.
    pub(crate) began: u32,
    /// The point that it builds upon.
    pub(crate) base: Option<PointId>,
}

/// Who stored a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writer {
    Session(SessionId),
    Pool,
}

impl State {
    /// The one question behind `known` and behind storing: whether a copy is there on which this session may rely. A
    /// yes is a promise. In a condemned segment only that counts which was promised before; and for storing not even
    /// that, since the bytes are there. The promises of a session are a filter, which takes others to be promised as well.
    fn relies(&mut self, session: SessionId, name: Name, stores: bool) -> bool {
        let Some(place) = self.place(name) else { return false };
        if self.guards.bad_counts_as_absent && self.bad.contains(&place) {
            return false;
        }
        if !self.condemned.contains_key(&place.segment) {
            self.cached.insert(name);
        } else if self.guards.condemnation_is_heeded {
            let is_going = self.guards.decision_is_heeded && self.going.contains_key(&name);
            if stores || is_going || !self.may_be_promised(session, name) {
                self.saw("condemned");
                return false;
            }
            self.saw("promised before");
        }
        self.promise(session, name);
        true
    }

    /// Whether the filter of a session says that a name is promised to it. It never misses one.
    fn may_be_promised(&self, session: SessionId, name: Name) -> bool {
        let is_promised = self.promised.get(&name).is_some_and(|sessions| sessions.contains(&session));
        is_promised || self.guards.promises_are_kept && self.chance()
    }

    fn promise(&mut self, session: SessionId, name: Name) {
        if self.guards.promises_are_kept {
            self.promised.entry(name).or_default().insert(session);
        }
    }

    /// Begins a session, upon a point that must be in history.
    pub fn begin(&mut self, base: Option<PointId>) -> Result<SessionId, Stopped> {
        if let Some(base) = base {
            if !self.catalog.points.contains_key(&base) {
                return Err(Stopped::Refused);
            }
            if self.guards.base_is_leased {
                self.lease(base);
            }
        }
        self.epoch += 1;
        let id = SessionId(self.epoch);
        self.sessions.insert(id, Session { began: self.epoch, base });
        Ok(id)
    }

    /// Whether the session may leave out the bytes of a name.
    pub fn known(&mut self, session: SessionId, name: Name) -> Result<bool, Stopped> {
        self.check_fence(session)?;
        let is_cached = self.cached.contains(&name);
        if is_cached {
            self.promise(session, name);
        }
        Ok(is_cached || self.relies(session, name, false))
    }

    /// Takes the bytes of a name, unless they are there.
    pub fn store(&mut self, session: SessionId, name: Name, refers: &[Name]) -> Result<(), Stopped> {
        self.check_fence(session)?;
        let is_there = if self.guards.storing_asks_like_known {
            self.relies(session, name, true)
        } else {
            self.place(name).is_some()
        };
        if !is_there {
            self.append(name, refers, true, Writer::Session(session));
            if self.guards.stored_is_promised {
                self.promise(session, name);
            }
        }
        Ok(())
    }

    fn check_fence(&self, session: SessionId) -> Result<(), Stopped> {
        if self.sessions.contains_key(&session) { Ok(()) } else { Err(Stopped::Refused) }
    }

    /// Ends a session, however it went. One that was ended for it is fenced: nothing more is taken from it.
    pub fn end(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.remove(&session)
            && let Some(base) = session.base
            && self.guards.base_is_leased
        {
            self.release(base);
        }
        self.promised.retain(|_, sessions| {
            sessions.remove(&session);
            !sessions.is_empty()
        });
    }

    /// Ends every session, as after a time in which nothing was heard of it.
    pub fn fence_all(&mut self) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end(session);
            self.saw("fenced");
        }
    }

    /// Whether the source has another newest point than the one that a session builds upon.
    fn is_overtaken(&self, session: SessionId, point: PointId) -> bool {
        let base = self.sessions.get(&session).and_then(|session| session.base);
        base.is_some() && base != self.newest(point.source)
    }

    fn commit_point(&mut self, session: SessionId, point: PointId, root: Name) {
        self.commit(Writer::Session(session), &[Record::Point(point, root)]);
    }
}

impl Actor {
    /// Asks for each name of a tree, and stores what is not known, the root last.
    pub fn send(&self, session: SessionId, root: Name, refers: &[Name]) -> Result<(), Stopped> {
        for (name, refers) in refers.iter().map(|&name| (name, &[] as &[Name])).chain([(root, refers)]) {
            if !self.step(|state| state.known(session, name))?? {
                self.step(|state| state.store(session, name, refers))??;
            }
        }
        Ok(())
    }

    /// Commits a point and ends the session.
    pub fn commit(&self, session: SessionId, point: PointId, root: Name) -> Result<(), Stopped> {
        let guards = self.step(|state| state.guards)?;
        if !guards.ends_with_commit {
            self.step(|state| state.check_fence(session).map(|()| state.end(session)))??;
            return self.step(|state| state.commit_point(session, point, root));
        }
        if !guards.fence_and_commit_are_one {
            self.step(|state| state.check_fence(session))??;
        }
        self.step(|state| {
            if guards.commit_checks_fence && guards.fence_and_commit_are_one {
                state.check_fence(session)?;
            }
            if guards.builds_on_newest && state.is_overtaken(session, point) {
                state.end(session);
                return Err(Stopped::Refused);
            }
            state.commit_point(session, point, root);
            state.end(session);
            Ok(())
        })?
    }

    /// A whole backup: begins, sends, commits.
    pub fn back_up(&self, point: PointId, root: Name, refers: &[Name]) -> Result<(), Stopped> {
        let session = self.step(|state| state.begin(None))??;
        self.send(session, root, refers)?;
        self.commit(session, point, root)
    }
}
