//! Histories as text, so that a case is a file that people can read; FORMAT in the words below.
//!
//! `bounds`, `drives`, `used`, `reclaim`, `now` and `frozen` speak of the pool; `source` begins a source and says its
//! policy; `holds`, `points`, `pinned`, `hold`, `leased`, `partial` and `own` speak of the source begun last. Lines
//! that begin with `#` are for the reader.

use std::collections::BTreeMap;
use std::time::Duration;

use model::time::parse_duration;
use model::{SourceId, Time};
use retention::quantity::parse_bytes;
use retention::{
    ClockFault, Completeness, Freeze, Holds, Now, PointState, Policies, Policy, PoolBounds, SourceState,
    State, Witnessed,
};

/// What a plan is made of.
#[derive(Default)]

pub(crate) struct History {
    /// The pool.
    pub(crate) state: State,
    /// The policies.
    pub(crate) policies: Policies,
    /// The bounds.
    pub(crate) bounds: PoolBounds,
    /// The time.
    pub(crate) now: Now,
    /// What sources are called.
    pub(crate) names: BTreeMap<SourceId, String>,
}

#[derive(Default)]
struct Reading {
    history: History,
    used_bytes: Option<u64>,
    source: SourceId,
    points: BTreeMap<SourceId, (u64, Vec<PointState>)>,
}

/// When witnessed time began, by the wall clock.
fn beginning() -> Time {
    Time::parse("2026-01-01T00:00:00Z").expect("a moment")
}

/// Reads a history.
pub(crate) fn read(text: &str) -> History {
    let mut reading = Reading::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        reading.line(word, rest).unwrap_or_else(|| panic!("a line that says nothing: {line}"));
    }
    let Reading { mut history, used_bytes, points, .. } = reading;
    let all: u64 = points.values().map(|(used, _)| used).sum();
    history.state.used_bytes = used_bytes.unwrap_or(all);
    history.state.sources =
        points.into_iter().map(|(source, (used, points))| (source, SourceState::new(used, points))).collect();
    history
}

impl Reading {
    fn line(&mut self, word: &str, rest: &str) -> Option<()> {
        let history = &mut self.history;
        match word {
            "bounds" => history.bounds = PoolBounds::parse(rest).ok()?,
            "drives" => history.state.drives_bytes = parse_bytes(rest)?,
            "used" => self.used_bytes = Some(parse_bytes(rest)?),
            "reclaim" => history.state.reclaimable_bytes = parse_bytes(rest)?,
            "now" => history.now.witnessed = Witnessed(parse_duration(rest)?),
            "frozen" => history.now.frozen = Some(freeze(rest)?),
            "source" => {
                let mut words = rest.splitn(3, ' ');
                self.source = SourceId(words.next()?.parse().ok()?);
                history.names.insert(self.source, words.next()?.to_owned());
                if let Some(policy) = words.next() {
                    history.policies.insert(self.source, Policy::parse(policy).ok()?);
                }
                self.points.entry(self.source).or_default();
            }
            "holds" => self.points.get_mut(&self.source)?.0 = parse_bytes(rest)?,
            "points" => {
                let points = points(rest)?;
                self.points.get_mut(&self.source)?.1.extend(points);
            }
            "own" => {
                let (number, bytes) = rest.split_once(' ')?;
                self.change(number, |point| point.own_bytes = parse_bytes(bytes))?;
            }
            "pinned" => self.change(rest, |point| point.holds.pinned = true)?,
            "hold" => self.change(rest, |point| point.holds.legal_hold = true)?,
            "leased" => self.change(rest, |point| point.holds.leased = true)?,
            "partial" => self.change(rest, |point| point.completeness = Completeness::Partial)?,
            _ => return None,
        }
        Some(())
    }

    fn change(&mut self, numbers: &str, change: impl Fn(&mut PointState)) -> Option<()> {
        let points = &mut self.points.get_mut(&self.source)?.1;
        for number in numbers.split(' ') {
            let number: u64 = number.parse().ok()?;
            change(points.iter_mut().find(|point| point.number == number)?);
        }
        Some(())
    }
}

/// `1..31 from 0d every 1d own 1GiB`, then perhaps `clock 26h` ahead of the truth, or `clock -26h` behind it.
fn points(text: &str) -> Option<Vec<PointState>> {
    let words: Vec<&str> = text.split(' ').collect();
    let [numbers, "from", from, "every", every, "own", own, rest @ ..] = words.as_slice() else {
        return None;
    };
    let (first, end) = numbers.split_once("..")?;
    let (first, end): (u64, u64) = (first.parse().ok()?, end.parse().ok()?);
    let (from, every) = (parse_duration(from)?, parse_duration(every)?);
    let received = |witnessed: Duration| {
        let true_time = beginning().after(witnessed);
        match rest {
            ["clock", behind] if behind.starts_with('-') => {
                Some(true_time.before(parse_duration(behind.trim_start_matches('-'))?))
            }
            ["clock", ahead] => Some(true_time.after(parse_duration(ahead)?)),
            [] => Some(true_time),
            _ => None,
        }
    };
    (first..end)
        .map(|number| {
            let witnessed = from + every * u32::try_from(number - first).ok()?;
            Some(PointState {
                number,
                received: received(witnessed)?,
                witnessed: Witnessed(witnessed),
                completeness: Completeness::Complete,
                holds: Holds::default(),
                own_bytes: if *own == "?" { None } else { Some(parse_bytes(own)?) },
            })
        })
        .collect()
}

fn freeze(text: &str) -> Option<Freeze> {
    let (fault, by) = text.split_once(' ')?;
    let by = parse_duration(by)?;
    let expected = beginning().after(Duration::from_secs(86_400 * 100));
    let (fault, found) = match fault {
        "forward" => (ClockFault::Forward, expected.after(by)),
        "back" => (ClockFault::Back, expected.before(by)),
        "reboot" => (ClockFault::BackOverBoot, expected.before(by)),
        _ => return None,
    };
    Some(Freeze { fault, by, expected, found })
}
