//! What a source sends, as a model: how many points a day, what is new in them and what dies.

use crate::ledger::Change;

/// What a source sends day by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What its first point brings.
    pub first_bytes: u64,
    /// Points on each day, evenly spaced; repeated from the start when it ends.
    pub points_by_day: Vec<u32>,
    /// What each further point brings.
    pub new_bytes: u64,
    /// What each further point replaces or removes.
    pub replaced_bytes: u64,
    /// How much of that was new shortly before, in thousandths; the rest is the oldest there is.
    pub young_share: u16,
}

/// What has been measured of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes that came into being.
    pub new_bytes_per_day: u64,
    /// Bytes that were replaced or removed.
    pub dying_bytes_per_day: u64,
    /// Points that were received in a week, kept or not.
    pub points_per_week: u32,
}

impl Workload {
    /// What goes on as it was measured. With more points than `points_per_week_max` each stands for several.
    #[must_use]
    pub fn measured(first_bytes: u64, rates: &Rates, young_share: u16, points_per_week_max: u32) -> Self {
        let points = rates.points_per_week.min(points_per_week_max);
        let points_by_day: Vec<u32> = (0..7).map(|day| (day + 1) * points / 7 - day * points / 7).collect();
        let of_week = |per_day: u64| per_day.saturating_mul(7).checked_div(u64::from(points)).unwrap_or(0);
        Self {
            first_bytes,
            points_by_day,
            new_bytes: of_week(rates.new_bytes_per_day),
            replaced_bytes: of_week(rates.dying_bytes_per_day),
            young_share,
        }
    }

    /// How many points come on a day.
    pub(crate) fn points_on(&self, day: u32) -> u32 {
        let day = usize::try_from(day).unwrap_or(0);
        self.points_by_day.get(day % self.points_by_day.len().max(1)).copied().unwrap_or(0)
    }

    /// What the next point changes.
    pub(crate) fn change(&self, is_first: bool) -> Change {
        if is_first {
            return Change { new_bytes: self.first_bytes, ..Change::default() };
        }
        let share = u128::from(self.young_share.min(1000));
        let young = u64::try_from(u128::from(self.replaced_bytes) * share / 1000).unwrap_or(u64::MAX);
        Change {
            new_bytes: self.new_bytes,
            dying_young_bytes: young,
            dying_old_bytes: self.replaced_bytes.saturating_sub(young),
        }
    }
}
