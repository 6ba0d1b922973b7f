//! How far back the points of a source go.

use std::time::Duration;

use crate::simulation::{DAY, Member};
use crate::witness::Witnessed;

/// How far back the points of a source go, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Points that are kept.
    pub points: u64,
    /// Bytes that they take.
    pub used_bytes: u64,
    /// The age of the oldest point.
    pub oldest: Duration,
    /// How far back there is a point for every day, apart from days on which none is sent.
    pub daily: Duration,
}

impl Reach {
    pub(crate) fn of(member: &Member, now: Witnessed) -> Self {
        let oldest = member.points.first().map_or(Duration::ZERO, |point| now.since(point.witnessed));
        let gap_max = member.gap_max();
        let mut daily = now;
        for point in member.points.iter().rev() {
            if daily.since(point.witnessed) > gap_max {
                break;
            }
            daily = point.witnessed;
        }
        Self {
            points: member.points.len() as u64,
            used_bytes: member.ledger.used_bytes(),
            oldest,
            daily: now.since(daily),
        }
    }

    /// The mean of several days.
    pub(crate) fn mean(days: &[Self]) -> Self {
        let count = u32::try_from(days.len()).unwrap_or(u32::MAX).max(1);
        let span = |of: fn(&Self) -> Duration| {
            days.iter().map(|day| of(day) / count).fold(Duration::ZERO, Duration::saturating_add)
        };
        let number = |of: fn(&Self) -> u64| {
            let sum: u128 = days.iter().map(|day| u128::from(of(day))).sum();
            u64::try_from(sum / u128::from(count)).unwrap_or(u64::MAX)
        };
        Self {
            points: number(|day| day.points),
            used_bytes: number(|day| day.used_bytes),
            oldest: span(|day| day.oldest),
            daily: span(|day| day.daily),
        }
    }
}

impl Member {
    /// The longest time between two points that counts as daily: a day and a half, and days without any besides.
    fn gap_max(&self) -> Duration {
        let (mut longest, mut idle) = (0_u32, 0_u32);
        for points in self.workload.points_by_day.iter().chain(&self.workload.points_by_day) {
            idle = if *points == 0 { idle.saturating_add(1) } else { 0 };
            longest = longest.max(idle);
        }
        // Twice round a pattern without points would be endless idleness.
        (DAY * longest.min(366)).saturating_add(DAY * 3 / 2)
    }
}
