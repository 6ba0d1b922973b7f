//! Faults on purpose, to prove that the simulator finds them. Without the feature `planted-bugs` there are none.

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Data is not synced before the mark.
    SkipFileSync,
    /// Names of new segments are not synced.
    SkipDirectorySync,
    /// The commit is acknowledged before its mark is synced.
    AcknowledgeEarly,
    /// After a failed sync the commit is tried again and believed.
    RetrySync,
}

/// Which fault is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Planted {
    /// With one fault.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub const fn new(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether a fault is switched on.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a fault is switched on: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[must_use]
    pub const fn has(self, _: Bug) -> bool {
        false
    }
}
