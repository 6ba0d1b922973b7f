//! Rungs and the periods that they divide wall time into, in UTC.
//!
//! A period only says which points stand beside each other; the order of points is that of their numbers. A wrong
//! clock can put a point into a wrong period, and that is all that it can do.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::Time;

/// A rung of the ladder of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks from Monday, as in ISO 8601.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Rung {
    /// All of them, finest first.
    pub const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The word for its points.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

/// One hour, day, week, month or year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    rung: Rung,
    year: i16,
    /// Month, or week of the year; 0 for years.
    part: i8,
    day: i8,
    hour: i8,
}

impl Period {
    /// The period of a rung that a moment lies in.
    #[must_use]
    pub fn of(rung: Rung, time: Time) -> Self {
        // Every i64 of nanoseconds lies inside jiff's range.
        let stamp = Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(Timestamp::UNIX_EPOCH);
        let moment = TimeZone::UTC.to_datetime(stamp);
        let (year, month, day, hour) = (moment.year(), moment.month(), moment.day(), moment.hour());
        let week = moment.date().iso_week_date();
        match rung {
            Rung::Hourly => Self { rung, year, part: month, day, hour },
            Rung::Daily => Self { rung, year, part: month, day, hour: 0 },
            Rung::Weekly => Self { rung, year: week.year(), part: week.week(), day: 0, hour: 0 },
            Rung::Monthly => Self { rung, year, part: month, day: 0, hour: 0 },
            Rung::Yearly => Self { rung, year, part: 0, day: 0, hour: 0 },
        }
    }

    /// Its rung.
    #[must_use]
    pub const fn rung(self) -> Rung {
        self.rung
    }
}

impl fmt::Display for Period {
    /// `2026-11-20T10`, `2026-11-20`, `2026-W47`, `2026-11`, `2026`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rung, year, part, day, hour } = self;
        match rung {
            Rung::Hourly => write!(f, "{year:04}-{part:02}-{day:02}T{hour:02}"),
            Rung::Daily => write!(f, "{year:04}-{part:02}-{day:02}"),
            Rung::Weekly => write!(f, "{year:04}-W{part:02}"),
            Rung::Monthly => write!(f, "{year:04}-{part:02}"),
            Rung::Yearly => write!(f, "{year:04}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_in_one_period_of_each_rung() {
        let cases = [
            ("2026-11-20T10:32:11Z", ["2026-11-20T10", "2026-11-20", "2026-W47", "2026-11", "2026"]),
            ("2027-01-01T00:00:00Z", ["2027-01-01T00", "2027-01-01", "2026-W53", "2027-01", "2027"]),
            ("1969-12-31T23:59:59Z", ["1969-12-31T23", "1969-12-31", "1970-W01", "1969-12", "1969"]),
        ];
        for (time, expected) in cases {
            let time = Time::parse(time).unwrap();
            assert_eq!(Rung::ALL.map(|rung| Period::of(rung, time).to_string()), expected);
        }
    }

    #[test]
    fn no_moment_is_too_far_away() {
        for time in [i64::MIN, -1, 0, i64::MAX] {
            for rung in Rung::ALL {
                assert_eq!(Period::of(rung, Time(time)).rung(), rung);
            }
        }
    }
}
