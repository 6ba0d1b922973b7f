//! What an operator wants to be kept of a source.
//!
//! Counts say which points are wanted; what they do not ask for is folded. A policy without any counts wants every
//! point for as long as there is room. The floor says what nobody folds, whatever counts, quota and the pool's marks
//! say. The quota bounds the bytes of one source; the floor outranks it.
//!
//! Every value is legal. The text form is for command lines, the CBOR form for the pool's settings.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::SourceId;

use crate::RetentionError;
use crate::period::Rung;
use crate::quantity::{exact_bytes, exact_span, nanoseconds, parse_bytes};
use crate::words::Grammar;

/// A count that never runs out.
pub const ALL: u32 = u32::MAX;

/// The policy of every source; a source that has none is kept by [`Policy::default`].
pub type Policies = BTreeMap<SourceId, Policy>;

/// What is kept of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Policy {
    /// Which points are wanted.
    #[n(0)]
    pub counts: Counts,
    /// What is never folded.
    #[n(1)]
    pub floor: Floor,
    /// Most bytes that the source may hold.
    #[n(2)]
    pub quota_bytes: Option<u64>,
}

/// How many points are wanted: the last ones, and the newest of each of the last periods that have points.
///
/// Zero asks for nothing; all zero means that there are no counts and every point is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Counts {
    /// The last points.
    #[n(0)]
    pub last: u32,
    /// The newest point of each of the last hours.
    #[n(1)]
    pub hourly: u32,
    /// The newest point of each of the last days.
    #[n(2)]
    pub daily: u32,
    /// The newest point of each of the last weeks, which begin on Monday.
    #[n(3)]
    pub weekly: u32,
    /// The newest point of each of the last months.
    #[n(4)]
    pub monthly: u32,
    /// The newest point of each of the last years.
    #[n(5)]
    pub yearly: u32,
}

impl Counts {
    /// Whether nothing is asked for, so that every point is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many periods of a rung are wanted.
    #[must_use]
    pub const fn of(&self, rung: Rung) -> u32 {
        match rung {
            Rung::Hourly => self.hourly,
            Rung::Daily => self.daily,
            Rung::Weekly => self.weekly,
            Rung::Monthly => self.monthly,
            Rung::Yearly => self.yearly,
        }
    }
}

/// What nobody folds: at least so many of the newest complete points, and everything younger than an age.
///
/// The age is counted in time that the appliance has witnessed, so that no clock can end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Floor {
    /// How many of the newest complete points; the newest one stays even if this is zero.
    #[n(0)]
    pub points: u32,
    /// Everything younger than this stays.
    #[cbor(n(1), with = "nanoseconds")]
    pub age: Duration,
}

impl Default for Floor {
    /// Three points and seven days: a weekend and a working week to notice that something is wrong.
    fn default() -> Self {
        Self { points: 3, age: Duration::from_secs(7 * 86_400) }
    }
}

const GRAMMAR: Grammar = Grammar {
    what: "policy",
    keys: &["last", "hourly", "daily", "weekly", "monthly", "yearly", "floor-points", "floor-age", "quota"],
    example: "daily=30",
};

impl Policy {
    /// Reads `last=7 daily=30 yearly=all floor-points=3 floor-age=14d quota=500GiB`; what is not said is as in the
    /// default: no counts, the default floor, no quota.
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let mut policy = Self::default();
        for (key, value) in GRAMMAR.split(text)? {
            match key {
                "last" => policy.counts.last = count(key, value)?,
                "hourly" => policy.counts.hourly = count(key, value)?,
                "daily" => policy.counts.daily = count(key, value)?,
                "weekly" => policy.counts.weekly = count(key, value)?,
                "monthly" => policy.counts.monthly = count(key, value)?,
                "yearly" => policy.counts.yearly = count(key, value)?,
                "floor-points" => policy.floor.points = count(key, value)?,
                "floor-age" => policy.floor.age = age(key, value)?,
                _ => {
                    let bytes = parse_bytes(value);
                    let expected = "bytes with their unit, as in 500GiB";
                    policy.quota_bytes = Some(bytes.ok_or_else(|| GRAMMAR.refuse(key, value, expected))?);
                }
            }
        }
        Ok(policy)
    }

    /// As the pool keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::error::encode(self)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetentionError> {
        crate::error::decode("policy", bytes)
    }
}

impl fmt::Display for Policy {
    /// The text that [`Policy::parse`] reads as this policy; the floor is always said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let wanted = [
            ("last", counts.last),
            ("hourly", counts.hourly),
            ("daily", counts.daily),
            ("weekly", counts.weekly),
            ("monthly", counts.monthly),
            ("yearly", counts.yearly),
        ];
        for (key, count) in wanted.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{key}={} ", CountText(count))?;
        }
        write!(f, "floor-points={} floor-age={}", CountText(self.floor.points), exact_span(self.floor.age))?;
        self.quota_bytes.map_or(Ok(()), |bytes| write!(f, " quota={}", exact_bytes(bytes)))
    }
}

struct CountText(u32);

impl fmt::Display for CountText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == ALL { f.write_str("all") } else { write!(f, "{}", self.0) }
    }
}

fn count(key: &str, value: &str) -> Result<u32, RetentionError> {
    if value == "all" {
        return Ok(ALL);
    }
    value.parse().map_err(|_| GRAMMAR.refuse(key, value, "a whole number, or all"))
}

fn age(key: &str, value: &str) -> Result<Duration, RetentionError> {
    /// So that it can be stored as nanoseconds.
    const AGE_MAX: Duration = Duration::from_secs(500 * 365 * 86_400);
    let age = model::time::parse_duration(value).filter(|age| *age <= AGE_MAX);
    age.ok_or_else(|| GRAMMAR.refuse(key, value, "a duration of at most 500 years, as in 36h, 14d or 8w"))
}
