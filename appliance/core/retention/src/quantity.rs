//! Bytes and durations as people read and write them.
//!
//! There are two ways to write each: *exact*, which is read back as the same value and is used for policies, and
//! *rounded*, which is used in sentences.

use std::fmt;
use std::time::Duration;

const BINARY: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL: [(&str, u64); 5] = [
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];
const SPANS: [(&str, u64); 3] = [("d", 86_400), ("h", 3_600), ("m", 60)];

/// Reads `500GiB`, `2TB`, `4096B`; nothing with a fraction, so that what is written is what is meant.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let units = BINARY.iter().chain(&DECIMAL).chain(std::iter::once(&("B", 1)));
    let (number, unit) = units.filter_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size))).next()?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Bytes in the largest unit that has no fraction: `500GiB`.
pub(crate) fn exact_bytes(bytes: u64) -> String {
    let unit = BINARY.iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, size)| format!("{}{unit}", bytes / size))
}

/// A duration in the largest unit that has no fraction, whole seconds: `14d`.
pub(crate) fn exact_span(span: Duration) -> String {
    let seconds = span.as_secs();
    let unit = SPANS.iter().find(|(_, length)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
}

/// Bytes in a sentence: `3.2 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, size)) = BINARY.iter().find(|(_, size)| self.0 >= *size) else {
            return match self.0 {
                1 => f.write_str("1 byte"),
                bytes => write!(f, "{bytes} bytes"),
            };
        };
        let tenths = u128::from(self.0) * 10 / u128::from(*size);
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {unit}"),
            (whole, _) if whole >= 100 => write!(f, "{whole} {unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth} {unit}"),
        }
    }
}

/// A duration in a sentence, by its two largest units: `3 d 4 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        let two = |f: &mut fmt::Formatter<'_>, large, large_unit, small, small_unit| match small {
            0 => write!(f, "{large} {large_unit}"),
            _ => write!(f, "{large} {large_unit} {small} {small_unit}"),
        };
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{rest} s"),
            (0, 0, _) => two(f, minutes, "min", rest, "s"),
            (0, _, _) => two(f, hours, "h", minutes, "min"),
            // Hours beside weeks are noise.
            (14.., _, _) => write!(f, "{days} d"),
            _ => two(f, days, "d", hours, "h"),
        }
    }
}

/// A duration as whole nanoseconds in CBOR.
pub(crate) mod nanoseconds {
    use std::time::Duration;

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        span: &Duration,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Duration, Error> {
        Ok(Duration::from_nanos(d.u64()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_round() {
        let sizes = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1 << 30, "1 GiB"),
            (3_500_000_000, "3.2 GiB"),
            (150 * (1 << 40) + (1 << 39), "150 TiB"),
            (u64::MAX, "16383 PiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(Size(bytes).to_string(), text);
        }
        let spans = [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (11_400, "3 h 10 min"),
            (273_600, "3 d 4 h"),
            (86_400 * 41 + 5, "41 d"),
        ];
        for (seconds, text) in spans {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn amounts_without_unit_and_with_fraction_are_refused() {
        for bad in ["", "5", "GiB", "1.5GiB", "-1GiB", "+1GiB", "1 GiB", "99999999999PiB", "1gib"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert_eq!(parse_bytes("2TB"), Some(2_000_000_000_000));
        assert_eq!(parse_bytes("7kB"), Some(7_000));
    }

    proptest! {
        #[test]
        fn exact_texts_are_read_back(bytes: u64, shift in 0..50_u32, seconds in 0..u64::MAX / 1_000_000_000) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(parse_bytes(&exact_bytes(bytes)), Some(bytes));
            let span = Duration::from_secs(seconds);
            prop_assert_eq!(model::time::parse_duration(&exact_span(span)), Some(span));
        }
    }
}
