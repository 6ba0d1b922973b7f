//! Moments, as nanoseconds since 1970, and how people write them.
//!
//! A moment orders nothing: the order of operations and points is that of their sequence numbers.

use std::fmt;
use std::time::Duration;

/// A moment: nanoseconds since 1970-01-01T00:00:00Z, from 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Time(#[n(0)] pub i64);

impl Time {
    /// The moment at `seconds` and `nanoseconds` since 1970; clamps what does not fit.
    #[must_use]
    pub const fn from_parts(seconds: i64, nanoseconds: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds as i64))
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Nanoseconds after [`Self::seconds`], 0 to 999,999,999.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "below 10^9 by rem_euclid")]
    pub const fn nanoseconds(self) -> u32 {
        self.0.rem_euclid(1_000_000_000) as u32
    }

    /// The moment `duration` before this one.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The moment `duration` after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// As in the name of a folder: `2026-11-20T10-32-11Z`, to the second.
    #[must_use]
    pub fn folder_name(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
    }

    /// Reads `2026-11-20T10:32:11.5Z`, with `-` or `:` in the time and any RFC 3339 offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut text = text.to_owned();
        // A folder name has dashes where RFC 3339 has colons; the date part is fixed at ten bytes.
        if text.is_ascii() && text.as_bytes().get(13) == Some(&b'-') && text.as_bytes().get(16) == Some(&b'-')
        {
            text.replace_range(13..14, ":");
            text.replace_range(16..17, ":");
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }

    fn timestamp(self) -> jiff::Timestamp {
        // Every i64 of nanoseconds lies inside jiff's range of years -9999 to 9999.
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({self})")
    }
}

/// Which point of a source is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The newest point.
    Latest,
    /// The newest point not after a moment.
    Instant(Time),
    /// The newest point not after `now` less a duration.
    Ago(Duration),
    /// The newest point not after an operation.
    Sequence(crate::SequenceNumber),
    /// The point with exactly this id, which is its folder name.
    Point(String),
}

impl When {
    /// Reads `latest`, `2026-11-20T10:32:11.5Z`, `5m-ago`, `seq:N` or a point id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        if let Some(number) = text.strip_prefix("seq:") {
            return number.parse().ok().map(|n| Self::Sequence(crate::SequenceNumber(n)));
        }
        if let Some(amount) = text.strip_suffix("-ago") {
            return parse_duration(amount).map(Self::Ago);
        }
        if is_point_id(text) {
            return Some(Self::Point(text.to_owned()));
        }
        Time::parse(text).map(Self::Instant)
    }
}

/// A point id is a folder name: `2026-11-20T10-32-11Z`, or with `-2` and so on behind it.
fn is_point_id(text: &str) -> bool {
    let Some((stamp, rest)) = text.split_at_checked(20) else { return false };
    let number = rest.is_empty()
        || rest.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    number && stamp.as_bytes().get(13) == Some(&b'-') && Time::parse(stamp).is_some()
}

/// Reads `90s`, `5m`, `2h`, `3d`, `1w`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let amount: u64 = text.strip_suffix(unit)?.parse().ok()?;
    amount.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_and_read_back() {
        let time = Time::parse("2026-11-20T10:32:11.5Z").unwrap();
        assert_eq!(time.to_string(), "2026-11-20T10:32:11.5Z");
        assert_eq!(time.folder_name(), "2026-11-20T10-32-11Z");
        assert_eq!(Time::parse("2026-11-20T10-32-11Z").unwrap().seconds(), time.seconds());
        assert_eq!(Time::from_parts(time.seconds(), time.nanoseconds()), time);
        assert_eq!(Time(-1).nanoseconds(), 999_999_999);
        assert_eq!(Time::parse("2026-11-20T18:32:11.5+08:00"), Some(time));
    }

    #[test]
    fn every_way_to_say_when_is_read() {
        let cases = [
            ("latest", Some(When::Latest)),
            ("seq:12", Some(When::Sequence(crate::SequenceNumber(12)))),
            ("5m-ago", Some(When::Ago(Duration::from_secs(300)))),
            ("2026-11-20T10-32-11Z", Some(When::Point("2026-11-20T10-32-11Z".into()))),
            ("2026-11-20T10-32-11Z-2", Some(When::Point("2026-11-20T10-32-11Z-2".into()))),
            ("1970-01-01T00:00:01Z", Some(When::Instant(Time(1_000_000_000)))),
            ("", None),
            ("-ago", None),
            ("5y-ago", None),
            ("99999999999999999999d-ago", None),
            ("seq:-1", None),
            ("yesterday", None),
            ("2026-13-20T10-32-11Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(When::parse(text), expected, "{text}");
        }
    }
}
