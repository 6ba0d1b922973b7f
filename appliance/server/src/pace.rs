//! How long those rest who work in the background, so that others have most of the drives.

use std::time::Duration;

/// The part of the time that somebody works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it: others wait for what is to be done.
    Whole,
    /// What cannot wait long.
    Half,
    /// What is wanted soon.
    Quarter,
    /// What has time.
    Tenth,
}

impl Share {
    /// How long to rest after so much work.
    pub(crate) fn rest_after(self, worked: Duration) -> Duration {
        let times = match self {
            Self::Whole => 0,
            Self::Half => 1,
            Self::Quarter => 3,
            Self::Tenth => 9,
        };
        worked.saturating_mul(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_rest_make_the_share() {
        let worked = Duration::from_secs(6);
        for (share, parts) in [(Share::Whole, 1), (Share::Half, 2), (Share::Quarter, 4), (Share::Tenth, 10)] {
            assert_eq!(worked + share.rest_after(worked), worked * parts, "{share:?}");
        }
    }
}
