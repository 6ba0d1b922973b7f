//! The past of a source, rebuilt from what was measured, so that it can be played forward.
//!
//! What points hold alone is known. Of the other bytes of a source some live and some have died but are held by several
//! points. How much dies is measured; how much of it dies young shows in what recent points hold alone. The rest dies
//! old: it was the oldest there was, so it had lived for as long as it takes to replace everything that lives. That
//! says which points hold it.

use std::time::Duration;

use crate::ledger::Ledger;
use crate::policy::Policy;
use crate::simulation::{DAY, Member};
use crate::state::{PointState, SourceState};
use crate::witness::Witnessed;
use crate::workload::{Rates, Workload};

/// Recent points that show how much dies young.
const RECENT_POINTS: usize = 16;

/// Most points in a week that are played one by one if counts bound how many stay, and if nothing does.
const POINTS_PER_WEEK_MAX: (u32, u32) = (24 * 7, 4 * 7);

/// How often the length of a life is estimated again by what seems to live.
const ROUNDS: usize = 6;

/// What a source of some rates will send.
pub(crate) fn workload(first_bytes: u64, policy: &Policy, rates: &Rates, young_share: u16) -> Workload {
    let (bounded, unbounded) = POINTS_PER_WEEK_MAX;
    let most = if policy.counts.is_empty() { unbounded } else { bounded };
    Workload::measured(first_bytes, rates, young_share, most)
}

/// A source with its past.
pub(crate) fn member(its: &SourceState, policy: &Policy, rates: &Rates) -> Member {
    let points = its.points();
    let young_share = young_share(points, rates);
    let past = Past { points, used_bytes: its.used_bytes, rates, young_share };
    Member {
        workload: workload(its.used_bytes, policy, rates, young_share),
        ledger: past.ledger(),
        points: points.to_vec(),
        next_number: points.last().map_or(1, |newest| newest.number.saturating_add(1)),
    }
}

struct Past<'a> {
    points: &'a [PointState],
    used_bytes: u64,
    rates: &'a Rates,
    young_share: u16,
}

impl Past<'_> {
    fn ledger(&self) -> Ledger {
        let mut living_bytes = self.used_bytes;
        let mut ledger = self.dead(living_bytes);
        for _ in 0..ROUNDS {
            let left = self.used_bytes.saturating_sub(ledger.used_bytes());
            // Halfway, because a longer life means more dead and so less that lives.
            living_bytes = living_bytes / 2 + left / 2;
            ledger = self.dead(living_bytes);
        }
        self.fill(&mut ledger);
        ledger
    }

    /// What is dead if so much lives.
    fn dead(&self, living_bytes: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for point in self.points {
            ledger.take_over(point.number, point.own_bytes.unwrap_or_else(|| self.own_bytes_of(point)));
        }
        let old_per_day = self.share(self.rates.dying_bytes_per_day, 1000 - self.young_share);
        let life = time_for(living_bytes, old_per_day);
        for (point, next) in self.points.iter().zip(self.points.iter().skip(1)) {
            let born = Witnessed(next.witnessed.0.saturating_sub(life));
            let first = self.points.partition_point(|other| other.witnessed < born);
            let Some(first) = self.points.get(first).filter(|first| first.number < point.number) else {
                continue;
            };
            let bytes = amount(old_per_day, next.witnessed.since(point.witnessed));
            let left = self.used_bytes.saturating_sub(ledger.used_bytes());
            ledger.bury(first.number, point.number, bytes.min(left));
        }
        ledger
    }

    /// What a point holds alone that was not measured: what dies young between two points. The newest holds nothing yet.
    fn own_bytes_of(&self, point: &PointState) -> u64 {
        if self.points.last().is_some_and(|newest| newest.number == point.number) {
            return 0;
        }
        let between = (DAY * 7).checked_div(self.rates.points_per_week).unwrap_or(Duration::ZERO);
        amount(self.share(self.rates.dying_bytes_per_day, self.young_share), between)
    }

    /// What is left lives; it was born at the rate at which bytes come that do not die young.
    fn fill(&self, ledger: &mut Ledger) {
        let mut left = self.used_bytes.saturating_sub(ledger.used_bytes());
        let young = self.share(self.rates.dying_bytes_per_day, self.young_share);
        let mut births: Vec<(u64, u64)> = Vec::new();
        for (point, next) in self.points.iter().zip(self.points.iter().skip(1)).rev() {
            let span = next.witnessed.since(point.witnessed);
            let lasting = self.rates.new_bytes_per_day.saturating_sub(young);
            // What the newest point brought has had no time to die.
            let rate = if births.is_empty() { self.rates.new_bytes_per_day } else { lasting };
            let bytes = amount(rate, span).min(left);
            left -= bytes;
            births.push((next.number, bytes));
        }
        births.extend(self.points.first().map(|first| (first.number, left)));
        births.into_iter().rev().for_each(|(number, bytes)| ledger.live(number, bytes));
    }

    fn share(&self, bytes: u64, thousandths: u16) -> u64 {
        u64::try_from(u128::from(bytes) * u128::from(thousandths) / 1000).unwrap_or(u64::MAX)
    }
}

/// How much of what dies was held by one point alone, in thousandths, by recent points; half if nothing tells.
fn young_share(points: &[PointState], rates: &Rates) -> u16 {
    // The oldest point also holds what died old, the newest one what has not died yet, and what died young between
    // two points that are no neighbours has gone with those between them.
    let pairs = points.iter().zip(points.iter().skip(1)).skip(1).rev();
    let neighbours = pairs.filter(|(point, next)| point.number.checked_add(1) == Some(next.number));
    let measured = neighbours.take(RECENT_POINTS).filter_map(|(point, next)| {
        let died = amount(rates.dying_bytes_per_day, next.witnessed.since(point.witnessed));
        Some((u128::from(point.own_bytes?), u128::from(died)))
    });
    let (own, died) = measured.fold((0_u128, 0_u128), |(own, died), (its, dead)| (own + its, died + dead));
    let share = own.saturating_mul(1000).checked_div(died).unwrap_or(500);
    u16::try_from(share.min(1000)).unwrap_or(1000)
}

/// What a daily rate comes to.
fn amount(bytes_per_day: u64, span: Duration) -> u64 {
    let bytes = u128::from(bytes_per_day).saturating_mul(span.as_millis()) / DAY.as_millis();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How long a daily rate needs for some bytes; for ever if nothing comes.
fn time_for(bytes: u64, bytes_per_day: u64) -> Duration {
    let millis = u128::from(bytes).saturating_mul(DAY.as_millis()).checked_div(u128::from(bytes_per_day));
    millis.map_or(Duration::MAX, |millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}
