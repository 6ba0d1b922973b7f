//! What bounds a pool as a whole: its capacity, its water marks, and how many points it may hold.
//!
//! Above the high-water mark points are folded until the low-water mark is reached; at the capacity new data is
//! refused. Every value is legal: marks above the capacity, or in the wrong order, are brought into order.

use std::fmt;

use crate::RetentionError;
use crate::quantity::{exact_bytes, parse_bytes};
use crate::words::Grammar;

/// What bounds a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct PoolBounds {
    /// Most bytes that the pool may take, even if its drives have more.
    #[n(0)]
    pub capacity_bytes: Option<u64>,
    /// Above this, points are folded.
    #[n(1)]
    pub high: WaterMark,
    /// Down to this.
    #[n(2)]
    pub low: WaterMark,
    /// Most points that the pool may hold.
    #[n(3)]
    pub points_max: Option<u64>,
}

impl Default for PoolBounds {
    /// All that the drives have; folds at nine tenths, down to eight and a half.
    fn default() -> Self {
        Self {
            capacity_bytes: None,
            high: WaterMark::PerMille(900),
            low: WaterMark::PerMille(850),
            points_max: None,
        }
    }
}

/// How full a pool may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum WaterMark {
    /// So many thousandths of its capacity.
    #[n(0)]
    PerMille(#[n(0)] u16),
    /// So many bytes.
    #[n(1)]
    Bytes(#[n(0)] u64),
}

impl WaterMark {
    /// Its share of so many bytes, in thousandths.
    #[must_use]
    pub fn permille_of(self, capacity_bytes: u64) -> u16 {
        let bytes = u128::from(self.bytes_of(capacity_bytes)) * 1000;
        let share = bytes.div_ceil(u128::from(capacity_bytes.max(1)));
        u16::try_from(share.min(1000)).unwrap_or(1000)
    }

    fn bytes_of(self, capacity_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.min(capacity_bytes),
            Self::PerMille(share) => {
                let bytes = u128::from(capacity_bytes) * u128::from(share.min(1000)) / 1000;
                u64::try_from(bytes).expect("at most the capacity")
            }
        }
    }

    fn parse(key: &str, value: &str) -> Result<Self, RetentionError> {
        let mark = match value.strip_suffix('%') {
            Some(share) => {
                let (whole, tenth) = share.split_once('.').unwrap_or((share, "0"));
                let tenths =
                    whole.parse::<u16>().ok().zip(tenth.parse::<u16>().ok().filter(|tenth| *tenth < 10));
                tenths
                    .map(|(whole, tenth)| whole.saturating_mul(10).saturating_add(tenth))
                    .filter(|share| *share <= 1000)
                    .map(Self::PerMille)
            }
            None => parse_bytes(value).map(Self::Bytes),
        };
        mark.ok_or_else(|| {
            GRAMMAR.refuse(key, value, "a share such as 90% or 92.5%, or bytes such as 800GiB")
        })
    }
}

impl fmt::Display for WaterMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&exact_bytes(*bytes)),
            Self::PerMille(share) => match (share / 10, share % 10) {
                (whole, 0) => write!(f, "{whole}%"),
                (whole, tenth) => write!(f, "{whole}.{tenth}%"),
            },
        }
    }
}

/// The bounds in bytes: `low <= high <= capacity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The most there may be.
    pub capacity_bytes: u64,
    /// Above this, points are folded.
    pub high_bytes: u64,
    /// Down to this.
    pub low_bytes: u64,
}

const GRAMMAR: Grammar =
    Grammar { what: "bounds", keys: &["capacity", "high", "low", "points"], example: "high=90%" };

impl PoolBounds {
    /// The bounds of a pool whose drives hold `drives_bytes`.
    #[must_use]
    pub fn marks(&self, drives_bytes: u64) -> Marks {
        let capacity_bytes = self.capacity_bytes.map_or(drives_bytes, |bound| bound.min(drives_bytes));
        let high_bytes = self.high.bytes_of(capacity_bytes);
        Marks { capacity_bytes, high_bytes, low_bytes: self.low.bytes_of(capacity_bytes).min(high_bytes) }
    }

    /// Reads `capacity=2TiB high=90% low=85% points=10000`; what is not said is as in the default.
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let mut bounds = Self::default();
        let mut low_said = false;
        for (key, value) in GRAMMAR.split(text)? {
            match key {
                "capacity" => {
                    let expected = "bytes with their unit, as in 2TiB";
                    let bytes = parse_bytes(value).ok_or_else(|| GRAMMAR.refuse(key, value, expected))?;
                    bounds.capacity_bytes = Some(bytes);
                }
                "high" => bounds.high = WaterMark::parse(key, value)?,
                "low" => {
                    bounds.low = WaterMark::parse(key, value)?;
                    low_said = true;
                }
                _ => {
                    let points = value.parse().map_err(|_| GRAMMAR.refuse(key, value, "a whole number"))?;
                    bounds.points_max = Some(points);
                }
            }
        }
        let above = match (bounds.low, bounds.high) {
            (WaterMark::PerMille(low), WaterMark::PerMille(high)) => low > high,
            (WaterMark::Bytes(low), WaterMark::Bytes(high)) => low > high,
            _ => false,
        };
        if above && low_said {
            return Err(RetentionError::Marks { low: bounds.low.to_string(), high: bounds.high.to_string() });
        }
        Ok(bounds)
    }

    /// As the pool keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::error::encode(self)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetentionError> {
        crate::error::decode("bounds", bytes)
    }
}

impl fmt::Display for PoolBounds {
    /// The text that [`PoolBounds::parse`] reads as these bounds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.capacity_bytes {
            write!(f, "capacity={} ", exact_bytes(bytes))?;
        }
        write!(f, "high={} low={}", self.high, self.low)?;
        self.points_max.map_or(Ok(()), |points| write!(f, " points={points}"))
    }
}
