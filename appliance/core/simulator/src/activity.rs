//! What was under way when the power went, so that a run can show that it cut into everything.

/// What a pool may be at when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something else: opening, receiving, reading, drives that come and go.
    Other,
    /// A point, or what was received, is made durable.
    Commit,
    /// Points are dropped, and references counted.
    Fold,
    /// Room is given back, and nothing was copied for it yet.
    Reclaim,
    /// Room is given back, and what is needed was being copied.
    Compaction,
    /// Segments are checked.
    Scrub,
    /// Segments are checked one copy of which is bad, and that is mended.
    Mending,
    /// Something is kept less often than it should be, and is made anew.
    Rebuild,
    /// A drive is emptied.
    Evacuation,
}

impl Activity {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Other,
        Self::Commit,
        Self::Fold,
        Self::Reclaim,
        Self::Compaction,
        Self::Scrub,
        Self::Mending,
        Self::Rebuild,
        Self::Evacuation,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Other => "something else",
            Self::Commit => "commit",
            Self::Fold => "fold",
            Self::Reclaim => "reclaim",
            Self::Compaction => "compaction",
            Self::Scrub => "scrub",
            Self::Mending => "mending",
            Self::Rebuild => "rebuild",
            Self::Evacuation => "evacuation",
        }
    }
}

/// Depths of crashes into recoveries that are counted each by itself; deeper ones count as the last.
const DEPTHS: usize = 6;

/// How often the power went at what, and how often it went again at so many recoveries in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    at: [u64; Activity::ALL.len()],
    nested: [u64; DEPTHS],
}

impl Cuts {
    pub(crate) fn note(&mut self, activity: Activity) {
        self.at[activity as usize] += 1;
    }

    /// Notes a crash that so many more followed before the pool was open again.
    pub(crate) fn note_depth(&mut self, depth: usize) {
        self.nested[depth.min(DEPTHS - 1)] += 1;
    }

    /// Adds those of another history.
    pub fn add(&mut self, other: &Self) {
        self.at.iter_mut().zip(other.at).for_each(|(all, one)| *all += one);
        self.nested.iter_mut().zip(other.nested).for_each(|(all, one)| *all += one);
    }

    /// How often the power went at something.
    #[must_use]
    pub const fn at(&self, activity: Activity) -> u64 {
        self.at[activity as usize]
    }

    /// How often so many crashes into recoveries followed one another.
    #[must_use]
    pub const fn nested(&self, depth: usize) -> u64 {
        self.nested[depth]
    }

    /// All of them in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let at = Activity::ALL.map(|activity| format!("{} {}", activity.name(), self.at(activity)));
        let nested: Vec<String> = self.nested.iter().map(u64::to_string).collect();
        format!(
            "cut into: {}; again into 0, 1, 2 and more recoveries in a row: {}",
            at.join(", "),
            nested.join(", ")
        )
    }

    /// What the power did not go at in one of a thousand crashes; a run of so few crashes that this may be chance says
    /// nothing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let all: u64 = self.nested.iter().sum();
        let few = |count: u64| all >= 20_000 && count < all / 1000;
        let at = Activity::ALL.into_iter().filter(|activity| few(self.at(*activity)));
        let at = at.map(|activity| activity.name().to_owned());
        let deep = (1..=4).filter(|depth| few(self.nested[*depth..].iter().sum()));
        at.chain(deep.map(|depth| format!("{depth} crashes into recoveries in a row"))).collect()
    }
}
