//! What the appliance tells without being asked: how far bundles are durable, and that a backup has failed.
//!
//! Only the newest news of each backup are kept, so nobody has to listen for memory to stay bounded.

use std::collections::BTreeMap;

use model::archive::ArchiveError;

/// Most backups of which news are kept.
const SESSIONS_MAX: usize = 64;

/// Something that the appliance tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// All bundles of a backup up to this number survive a power cut of the appliance.
    Durable {
        /// Which backup.
        session: u64,
        /// The last such bundle.
        number: u64,
    },
    /// A backup has failed.
    Failed {
        /// Which backup.
        session: u64,
        /// Why.
        error: ArchiveError,
    },
}

#[derive(Debug, Default)]
struct News {
    durable: u64,
    durable_told: u64,
    failure: Option<ArchiveError>,
    failure_told: bool,
}

/// The newest news of each backup.
#[derive(Debug, Default)]
pub(crate) struct Events {
    sessions: BTreeMap<u64, News>,
}

impl Events {
    pub(crate) fn durable(&mut self, session: u64, number: u64) {
        let news = self.news(session);
        news.durable = news.durable.max(number);
    }

    pub(crate) fn fail(&mut self, session: u64, error: ArchiveError) {
        self.news(session).failure.get_or_insert(error);
    }

    /// Why a backup has failed, if it has.
    pub(crate) fn failure(&self, session: u64) -> Option<&ArchiveError> {
        self.sessions.get(&session).and_then(|news| news.failure.as_ref())
    }

    /// The last bundle of a backup that is durable.
    pub(crate) fn durable_number(&self, session: u64) -> u64 {
        self.sessions.get(&session).map_or(0, |news| news.durable)
    }

    /// The next event that has not been told.
    pub(crate) fn next(&mut self) -> Option<LinkEvent> {
        for (&session, news) in &mut self.sessions {
            if news.durable > news.durable_told {
                news.durable_told = news.durable;
                return Some(LinkEvent::Durable { session, number: news.durable });
            }
            if let Some(error) = news.failure.as_ref().filter(|_| !news.failure_told) {
                news.failure_told = true;
                return Some(LinkEvent::Failed { session, error: error.clone() });
            }
        }
        None
    }

    fn news(&mut self, session: u64) -> &mut News {
        if self.sessions.len() >= SESSIONS_MAX && !self.sessions.contains_key(&session) {
            self.sessions.pop_first();
        }
        self.sessions.entry(session).or_default()
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorKind;

    use super::*;

    #[test]
    fn only_the_newest_is_told_and_only_once() {
        let mut events = Events::default();
        events.durable(1, 5);
        events.durable(1, 9);
        events.durable(1, 7);
        assert_eq!(events.next(), Some(LinkEvent::Durable { session: 1, number: 9 }));
        assert_eq!(events.next(), None);
        assert_eq!(events.durable_number(1), 9);
        let error = ArchiveError { kind: ErrorKind::Full, message: "full".into() };
        events.fail(1, error.clone());
        events.fail(1, ArchiveError { message: "later".into(), ..error.clone() });
        assert_eq!(events.failure(1), Some(&error), "the first failure is the cause");
        assert_eq!(events.next(), Some(LinkEvent::Failed { session: 1, error }));
        assert_eq!(events.next(), None);
    }

    #[test]
    fn news_of_few_backups_are_kept() {
        let mut events = Events::default();
        for session in 1..=1000 {
            events.durable(session, 1);
        }
        assert_eq!(events.sessions.len(), SESSIONS_MAX);
        assert_eq!(events.durable_number(1000), 1);
    }
}
