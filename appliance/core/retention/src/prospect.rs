//! A forecast and how sure it is: what was measured, what could not be, and between which days the pool may be full.

use std::collections::BTreeMap;

use model::SourceId;

use crate::forecast::{Forecast, Outlook, forecast};
use crate::measured::Certainty;
use crate::workload::Rates;

/// A forecast and how sure it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// How it goes on at the measured rates.
    pub forecast: Forecast,
    /// What is known of each source.
    pub certainty: BTreeMap<SourceId, Certainty>,
    /// In how many days the pool is full if everything changes as much as it may, and as little.
    pub full_between: (Option<u32>, Option<u32>),
}

/// What was measured of each source; what was not is taken to stand still.
#[must_use]
pub fn rates(certainty: &BTreeMap<SourceId, Certainty>) -> BTreeMap<SourceId, Rates> {
    certainty.iter().filter_map(|(source, known)| Some((*source, known.rates()?))).collect()
}

/// Says how long it lasts, and how sure that is.
#[must_use]
pub fn prospect(outlook: &Outlook<'_>, certainty: BTreeMap<SourceId, Certainty>) -> Prospect {
    let full = |extreme: usize| {
        let extremes =
            certainty.iter().filter_map(|(source, known)| Some((*source, *known.extremes()?.get(extreme)?)));
        let rates = extremes.collect();
        forecast(&Outlook { rates: &rates, ..*outlook }).full_in_days
    };
    let full_between = (full(1), full(0));
    Prospect { forecast: forecast(outlook), certainty, full_between }
}
