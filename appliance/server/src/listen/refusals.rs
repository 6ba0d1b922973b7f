//! One line in the log for every peer that is refused and every backup that fails, unless somebody wants to fill it.
//!
//! An address, or a machine, gets one line in ten seconds and all together twenty; what is left out is counted and said with the
//! next line. What a peer says of itself is escaped before it gets here.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::ErrorKind;
use model::archive::ArchiveError;

use super::error::Ending;

/// How long an address waits for its next line.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines in a period, over all addresses.
const LINES_MAX: usize = 20;

#[derive(Debug)]
struct Recent {
    began: Instant,
    lines: HashMap<String, u64>,
    left_out: u64,
}

/// Writes lines about refused peers.
#[derive(Debug)]
pub(crate) struct Refusals {
    recent: Mutex<Recent>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        let recent = Recent { began: Instant::now(), lines: HashMap::new(), left_out: 0 };
        Self { recent: Mutex::new(recent) }
    }

    /// Says why the peer at `address` was refused; its port does not make it another peer.
    pub(crate) fn report(&self, host: &str, peer: &dyn Display, ending: &Ending) {
        let Some(left_out) = self.admit(host, Instant::now()) else { return };
        let cause = ArchiveError::new(ErrorKind::Refused, ending).message;
        tracing::warn!(%peer, %cause, left_out, "refused a peer");
    }

    /// Says why a backup of a machine has failed.
    pub(crate) fn report_backup(&self, machine: &str, session: u64, error: &ArchiveError) {
        let Some(left_out) = self.admit(&format!("backup of {machine}"), Instant::now()) else { return };
        tracing::warn!(session, %error, left_out, "a backup has failed");
    }

    /// Whether there is a line for `host` now; if so, how many were left out since the last one.
    fn admit(&self, host: &str, now: Instant) -> Option<u64> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(recent.began) >= PERIOD {
            recent.began = now;
            recent.lines.clear();
        }
        let lines = recent.lines.len();
        match recent.lines.get_mut(host) {
            None if lines < LINES_MAX => {
                recent.lines.insert(host.to_owned(), 1);
                Some(std::mem::take(&mut recent.left_out))
            }
            _ => {
                recent.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_a_line_in_a_period_and_the_rest_is_counted() {
        let refusals = Refusals::new();
        let start = Instant::now();
        assert_eq!(refusals.admit("a", start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.admit("a", start + Duration::from_secs(3)), None);
        }
        assert_eq!(refusals.admit("b", start + Duration::from_secs(4)), Some(5));
        assert_eq!(refusals.admit("a", start + Duration::from_secs(11)), Some(0));
    }

    #[test]
    fn all_hosts_together_fill_no_log() {
        let refusals = Refusals::new();
        let start = Instant::now();
        let lines = (0..10_000).filter(|n| refusals.admit(&n.to_string(), start).is_some()).count();
        assert_eq!(lines, LINES_MAX);
        assert_eq!(refusals.recent.lock().unwrap().lines.len(), LINES_MAX, "memory is bounded too");
        assert_eq!(refusals.admit("x", start + PERIOD), Some(10_000 - LINES_MAX as u64));
    }
}
