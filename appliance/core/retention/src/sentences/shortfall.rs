//! Shortfalls in plain English: what is lacking, what is kept, what follows and what would help.

use super::{Names, points};
use crate::quantity::{Size, Span};
use crate::shortfall::{Bound, Cause, Consequence, Help, KeptBy, Shortfall};

impl Shortfall {
    /// What is lacking, what is kept and why, what follows, and what would help.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>) -> String {
        let what = match self.bound {
            Bound::Quota(source) => format!(
                "{} holds {} and its quota is {}: {} more than it may",
                names(source),
                Size(self.found),
                Size(self.limit),
                Size(self.lacking())
            ),
            Bound::Points => format!(
                "The pool holds {} and may hold {}: {} too many",
                points(self.found),
                self.limit,
                self.lacking()
            ),
            Bound::Room => format!(
                "The pool holds {} and its high-water mark is {}: {} more than it should",
                Size(self.found),
                Size(self.limit),
                Size(self.lacking())
            ),
        };
        let consequence = match (self.consequence, self.bound) {
            (Consequence::Warns, _) => "New data is still taken",
            (Consequence::Refuses, Bound::Quota(_)) => {
                "Its new data is refused; everything kept stays readable"
            }
            (Consequence::Refuses, _) => "New data is refused; everything kept stays readable",
        };
        let kept: Vec<String> = self.kept.iter().map(|group| group.in_words(names)).collect();
        let helps: Vec<String> = self.helps.iter().map(|help| help.in_words(names)).collect();
        format!(
            "{what}. {consequence}. What is kept: {}. What would help: {}.",
            kept.join(", "),
            helps.join("; ")
        )
    }
}

impl KeptBy {
    fn in_words(&self, names: Names<'_>) -> String {
        let why = match self.cause {
            Cause::LegalHold => "under legal hold",
            Cause::Pinned => "pinned",
            Cause::Leased => "in use",
            Cause::Floor => "under the floor",
            Cause::Newest => "the newest",
            Cause::Frozen => "kept until the clock is confirmed",
        };
        format!("{} of {} {why} ({})", points(self.points), names(self.source), Size(self.own_bytes))
    }
}

impl Help {
    fn in_words(&self, names: Names<'_>) -> String {
        match self {
            Self::ConfirmClock { points: count, own_bytes } => format!(
                "confirm the clock, then {} with at least {} may go",
                points(*count),
                Size(*own_bytes)
            ),
            Self::AddRoom { bytes } => format!("add a drive or raise the capacity by {}", Size(*bytes)),
            Self::RaiseQuota { bytes } => format!("raise the quota to {}", Size(*bytes)),
            Self::AllowPoints { points: count } => format!("allow {}", points(*count)),
            Self::Wait { source, span } => {
                format!("wait {} until the floor of {} lets a point go", Span(*span), names(*source))
            }
            Self::GiveUp(group) => {
                let what = match group.cause {
                    Cause::LegalHold => "lift legal holds",
                    Cause::Pinned => "remove pins",
                    Cause::Leased => "end what reads points",
                    Cause::Floor | Cause::Newest | Cause::Frozen => "lower the floor",
                };
                format!("{what} of {} (at least {})", names(group.source), Size(group.own_bytes))
            }
        }
    }
}
