//! What another source would cost the others, and whether its floor fits at all.
//!
//! Floors are promises. A source whose floor has no room beside the floors and holds of the others would make somebody
//! be refused soon, so it is refused before it begins, with the figures.

use std::time::Duration;

use model::SourceId;

use crate::forecast::{Forecast, Outlook, forecast, play};
use crate::past::workload;
use crate::policy::Policy;
use crate::simulation::DAY;
use crate::workload::Rates;

/// A source that wants to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// A number that no source has.
    pub source: SourceId,
    /// What its first point takes.
    pub size_bytes: u64,
    /// What is expected of it.
    pub rates: Rates,
    /// How it is to be kept.
    pub policy: Policy,
}

/// What admitting a source would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Who wants to be admitted.
    pub newcomer: Newcomer,
    /// What its floor takes once it has filled up.
    pub floor_bytes: u64,
    /// What all others take if everything goes that may go.
    pub others_bytes: u64,
    /// What there may be: the high-water mark.
    pub room_bytes: u64,
    /// How it goes on without it.
    pub without: Forecast,
    /// How it goes on with it.
    pub with: Forecast,
}

impl Newcomer {
    /// A source of which nothing but its size is known, and perhaps how much it brings each day: if not, as much for
    /// its size as the others, or a hundredth where nothing is measured. It replaces as much as it brings.
    #[must_use]
    pub fn expected(
        outlook: &Outlook<'_>,
        source: SourceId,
        size_bytes: u64,
        new_bytes: Option<u64>,
        policy: Policy,
    ) -> Self {
        let measured = outlook.rates.iter().filter_map(|(source, rates)| {
            let used = outlook.state.sources.get(source)?.used_bytes;
            Some((u128::from(used), u128::from(rates.new_bytes_per_day)))
        });
        let (used, new) = measured.fold((0, 0), |(used, new), one| (used + one.0, new + one.1));
        let alike = u128::from(size_bytes).saturating_mul(new).checked_div(used);
        let alike = alike.map_or(size_bytes / 100, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        let per_day = new_bytes.unwrap_or(alike);
        let rates = Rates { new_bytes_per_day: per_day, dying_bytes_per_day: per_day, points_per_week: 7 };
        Self { source, size_bytes, rates, policy }
    }
}

impl Admission {
    /// How much is lacking for its floor; it is to be refused if this is not zero.
    #[must_use]
    pub const fn lacking_bytes(&self) -> u64 {
        self.floor_bytes.saturating_add(self.others_bytes).saturating_sub(self.room_bytes)
    }

    /// Whether its floor fits.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.lacking_bytes() == 0
    }
}

/// What became of a source that was not known to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// How large its agent said that it is.
    pub announced_bytes: Option<u64>,
    /// What came of it.
    pub sent_bytes: u64,
    /// What the pool takes.
    pub used_bytes: u64,
    /// What keeps others from going, in words.
    pub kept: &'a str,
}

/// Says what admitting a source would mean.
#[must_use]
pub fn admission(outlook: &Outlook<'_>, newcomer: &Newcomer) -> Admission {
    /// How much of what dies was new shortly before, when nothing is measured.
    const YOUNG_SHARE: u16 = 500;
    let Newcomer { source, size_bytes, rates, policy } = *newcomer;
    let present = outlook.simulation();
    let mut joined = present.clone();
    joined.admit(source, policy, workload(size_bytes, &policy, &rates, YOUNG_SHARE));
    Admission {
        newcomer: *newcomer,
        floor_bytes: floor_bytes(size_bytes, &policy, &rates),
        others_bytes: present.least_bytes(),
        room_bytes: outlook.bounds.marks(outlook.state.drives_bytes).high_bytes,
        without: forecast(outlook),
        with: play(joined, outlook.days),
    }
}

/// What a floor takes: the first point, and everything that is new while points are under it.
fn floor_bytes(size_bytes: u64, policy: &Policy, rates: &Rates) -> u64 {
    let between = (DAY * 7).checked_div(rates.points_per_week).unwrap_or(Duration::ZERO);
    let span = between.saturating_mul(policy.floor.points).max(policy.floor.age);
    let new = u128::from(rates.new_bytes_per_day).saturating_mul(span.as_millis()) / DAY.as_millis();
    size_bytes.saturating_add(u64::try_from(new).unwrap_or(u64::MAX))
}
