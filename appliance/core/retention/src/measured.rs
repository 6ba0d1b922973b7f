//! How fast a source changes, by what its points brought over the time that the appliance witnessed.
//!
//! A rate is taken over the last four weeks. Two points and a day between them are the least that says anything; how
//! much points differ from each other says how sure it is.

use std::time::Duration;

use crate::simulation::DAY;
use crate::witness::Witnessed;
use crate::workload::Rates;

/// Over how much of the past rates are taken.
const WINDOW: Duration = Duration::from_secs(28 * 86_400);
/// The least history that says anything.
const HISTORY_LEAST: Duration = DAY;
/// How sure a rate is of which nothing but one span is known, in thousandths.
const MARGIN_UNKNOWN: u16 = 500;

/// What a source had brought at a moment, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// When.
    pub witnessed: Witnessed,
    /// Points that were received.
    pub points: u64,
    /// Bytes that nobody held before.
    pub born_bytes: u64,
    /// Bytes of files that points had and the points before them had not.
    pub written_bytes: u64,
    /// Bytes of files that points had not and the points before them had.
    pub removed_bytes: u64,
}

/// What is known of how a source changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was measured.
    Measured {
        /// How fast it changes.
        rates: Rates,
        /// Over how long.
        span: Duration,
        /// Over how many points after the first.
        points: u64,
        /// How far the rate may be off, in thousandths of it: twice its standard error.
        margin: u16,
    },
    /// Nothing can be told yet.
    Unknown {
        /// Points that there are to tell it by.
        points: u64,
        /// After how long it can be told, if a point comes then.
        wait: Duration,
    },
}

impl Certainty {
    /// What measures tell, oldest first, in order of time.
    #[must_use]
    pub fn of(measures: &[Measure], now: Witnessed) -> Self {
        let Some(last) = measures.last() else { return Self::Unknown { points: 0, wait: HISTORY_LEAST } };
        let begin = Witnessed(last.witnessed.0.saturating_sub(WINDOW));
        let first = measures.partition_point(|measure| measure.witnessed < begin);
        let window = measures.get(first..).unwrap_or_default();
        // A gap can be longer than the window.
        let window = if window.len() > 1 {
            window
        } else {
            measures.get(first.saturating_sub(1)..).unwrap_or_default()
        };
        let first = window.first().unwrap_or(last);
        let span = last.witnessed.since(first.witnessed);
        let points = last.points.saturating_sub(first.points);
        if span < HISTORY_LEAST || points == 0 {
            let wait = HISTORY_LEAST.saturating_sub(now.since(first.witnessed));
            return Self::Unknown { points: last.points, wait };
        }
        // A source that has gone quiet changes less than it did.
        let between = span.checked_div(u32::try_from(points).unwrap_or(u32::MAX)).unwrap_or(span);
        let span = span.saturating_add(now.since(last.witnessed).saturating_sub(between.saturating_add(DAY)));
        let born = last.born_bytes.saturating_sub(first.born_bytes);
        let written = last.written_bytes.saturating_sub(first.written_bytes);
        let removed = last.removed_bytes.saturating_sub(first.removed_bytes);
        let died = u128::from(born).saturating_mul(u128::from(removed)).checked_div(u128::from(written));
        let died = died.map_or(removed, |died| u64::try_from(died).unwrap_or(u64::MAX));
        let weekly = per_day(points, span).saturating_mul(7).max(per(points, span, DAY * 7));
        let rates = Rates {
            new_bytes_per_day: per_day(born, span),
            dying_bytes_per_day: per_day(died, span),
            points_per_week: u32::try_from(weekly).unwrap_or(u32::MAX).max(1),
        };
        Self::Measured { rates, span, points, margin: margin(window) }
    }

    /// The rates, if there are any.
    #[must_use]
    pub const fn rates(&self) -> Option<Rates> {
        match self {
            Self::Measured { rates, .. } => Some(*rates),
            Self::Unknown { .. } => None,
        }
    }

    /// The rates if they are off by as much as they may be, downwards and upwards.
    #[must_use]
    pub(crate) fn extremes(&self) -> Option<[Rates; 2]> {
        let Self::Measured { rates, margin, .. } = self else { return None };
        let scaled = |thousandths: u16| {
            let of = |bytes: u64| {
                let bytes = u128::from(bytes) * u128::from(thousandths) / 1000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            };
            Rates {
                new_bytes_per_day: of(rates.new_bytes_per_day),
                dying_bytes_per_day: of(rates.dying_bytes_per_day),
                ..*rates
            }
        };
        let margin = (*margin).min(1000);
        Some([scaled(1000 - margin), scaled(1000 + margin)])
    }
}

/// Twice the standard error of what was born, by how far every span is from the rate of all, in thousandths.
fn margin(window: &[Measure]) -> u16 {
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return MARGIN_UNKNOWN };
    let spans = window.len().saturating_sub(1) as u128;
    let born = u128::from(last.born_bytes.saturating_sub(first.born_bytes));
    let whole = last.witnessed.since(first.witnessed);
    if spans < 2 || born == 0 {
        return if born == 0 { 0 } else { MARGIN_UNKNOWN };
    }
    let squares = window.iter().zip(window.iter().skip(1)).map(|(before, after)| {
        let found = u128::from(after.born_bytes.saturating_sub(before.born_bytes));
        let span = after.witnessed.since(before.witnessed).as_millis();
        let expected = born.saturating_mul(span).checked_div(whole.as_millis()).unwrap_or(0);
        // In thousandths of all, so that no square is too large.
        let off = found.abs_diff(expected).saturating_mul(1_000_000) / born;
        off.saturating_mul(off)
    });
    let sum: u128 = squares.fold(0, u128::saturating_add).saturating_mul(spans) / (spans - 1);
    u16::try_from(sum.isqrt() * 2 / 1000).unwrap_or(u16::MAX).min(1000)
}

fn per(amount: u64, span: Duration, unit: Duration) -> u64 {
    let amount = u128::from(amount).saturating_mul(unit.as_millis());
    amount.checked_div(span.as_millis()).map_or(0, |amount| u64::try_from(amount).unwrap_or(u64::MAX))
}

fn per_day(amount: u64, span: Duration) -> u64 {
    per(amount, span, DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(hours: u64, points: u64, born_bytes: u64, removed_bytes: u64) -> Measure {
        let witnessed = Witnessed(Duration::from_secs(hours * 3600));
        Measure { witnessed, points, born_bytes, written_bytes: born_bytes, removed_bytes }
    }

    fn at(hours: u64) -> Witnessed {
        Witnessed(Duration::from_secs(hours * 3600))
    }

    #[test]
    fn nothing_is_told_before_two_points_and_a_day() {
        let unknown = |points, hours: u64| {
            let wait = Duration::from_secs(hours * 3600);
            Certainty::Unknown { points, wait }
        };
        assert_eq!(Certainty::of(&[], at(5)), unknown(0, 24));
        assert_eq!(Certainty::of(&[measure(1, 1, 100, 0)], at(6)), unknown(1, 19));
        let close = [measure(1, 1, 100, 0), measure(8, 2, 110, 0)];
        assert_eq!(Certainty::of(&close, at(9)), unknown(2, 16));
        assert_eq!(Certainty::of(&close, at(90)), unknown(2, 0));
    }

    #[test]
    fn rates_are_those_of_the_last_weeks_and_say_how_sure_they_are() {
        // A day's hundred, half of which is removed; long ago it was far more.
        let steady: Vec<Measure> = (0..60)
            .map(|day| measure(day * 24, day + 1, 90_000 + day.min(10) * 9000 + day * 100, day * 50))
            .collect();
        let Certainty::Measured { rates, span, points, margin } = Certainty::of(&steady, at(59 * 24)) else {
            panic!("it was measured")
        };
        let expected = Rates { new_bytes_per_day: 100, dying_bytes_per_day: 50, points_per_week: 7 };
        assert_eq!((rates, span, points, margin), (expected, WINDOW, 28, 0));
        // One day in four brings four times as much.
        let uneven: Vec<Measure> = (0..29).map(|day| measure(day * 24, day + 1, day / 4 * 400, 0)).collect();
        let Certainty::Measured { rates, margin, .. } = Certainty::of(&uneven, at(28 * 24)) else {
            panic!("it was measured")
        };
        assert_eq!(rates.new_bytes_per_day, 100);
        assert!((500..900).contains(&margin), "{margin}");
        // It has been quiet for as long as it was measured.
        let quiet = Certainty::of(&uneven, at(28 * 24 * 2));
        assert!((50..55).contains(&quiet.rates().unwrap().new_bytes_per_day), "{quiet:?}");
    }

    #[test]
    fn a_source_that_comes_once_in_a_long_time_is_measured_too() {
        let rare = [measure(0, 1, 1000, 0), measure(24 * 90, 2, 1900, 0)];
        let Certainty::Measured { rates, margin, .. } = Certainty::of(&rare, at(24 * 91)) else {
            panic!("it was measured")
        };
        assert_eq!((rates.new_bytes_per_day, rates.points_per_week, margin), (10, 1, MARGIN_UNKNOWN));
    }
}
