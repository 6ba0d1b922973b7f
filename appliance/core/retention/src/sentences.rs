//! A plan in plain English, a sentence or two for each thing that an operator should know.
//!
//! What goes comes first, in the order in which it goes; then what stays and why; then where there is not room enough
//! and what would help. Golden files hold the texts.

mod forecast;
mod shortfall;

pub use forecast::drive_in_words;

use std::collections::BTreeMap;

use model::SourceId;

use crate::judge::Keep;
use crate::plan::{Fold, FoldReason, Kept, Plan};
use crate::quantity::{Size, Span};
use crate::witness::{ClockFault, Freeze};

/// What a source is called.
pub type Names<'a> = &'a dyn Fn(SourceId) -> String;

/// Most runs of numbers that a sentence lists.
const RUNS_MAX: usize = 6;

impl Plan {
    /// What is kept of each source, and why.
    #[must_use]
    pub fn keeps_in_words(&self, names: Names<'_>) -> Vec<String> {
        keeps_in_words(&self.keeps, names)
    }

    /// The plan in sentences.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.frozen.as_ref().map(Freeze::in_words));
        let presses = self.folds.iter().any(|fold| fold.reason == FoldReason::Pressure);
        words.extend(self.pressure.filter(|_| presses).map(|pressure| {
            format!(
                "The pool holds {}, above its high-water mark of {}; points go, cheapest first, until it holds at most {}.",
                Size(pressure.expected_bytes),
                Size(pressure.high_bytes),
                Size(pressure.target_bytes)
            )
        }));
        if self.folds.is_empty() && self.frozen.is_none() {
            words.push("Nothing is to be folded.".to_owned());
        }
        words.extend(folds_in_words(&self.folds, names));
        words.extend(keeps_in_words(&self.keeps, names));
        words.extend(self.shortfalls.iter().map(|shortfall| shortfall.in_words(names)));
        words
    }
}

impl Freeze {
    /// Why nothing is folded, and what to do.
    #[must_use]
    pub fn in_words(&self) -> String {
        let by = Span(self.by);
        let what = match self.fault {
            ClockFault::Forward => format!("went {by} ahead of the time that the appliance ran"),
            ClockFault::Back => format!("fell {by} behind the time that the appliance ran"),
            ClockFault::BackOverBoot => format!("was {by} earlier after a restart than before it"),
        };
        format!(
            "Nothing is folded because the clock cannot be believed: it {what}; it said {} where at least {} was expected. Set it right if it is wrong, then confirm it.",
            self.found, self.expected
        )
    }
}

fn folds_in_words(folds: &[Fold], names: Names<'_>) -> Vec<String> {
    // In the order in which a reason and a source come up first.
    let mut groups: Vec<((FoldReason, SourceId), Vec<&Fold>)> = Vec::new();
    let mut places: BTreeMap<(FoldReason, SourceId), usize> = BTreeMap::new();
    for fold in folds {
        let key = (fold.reason, fold.source);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(fold);
        }
    }
    groups
        .iter()
        .map(|((reason, source), group)| {
            let why = match reason {
                FoldReason::Counts => ": no count of the policy asks for more".to_owned(),
                FoldReason::Quota { bytes } => format!(" to come down to its quota of {}", Size(*bytes)),
                FoldReason::Points { points } => {
                    format!(" to come down to the {points} points that the pool may hold")
                }
                FoldReason::Pressure => " to come down to the low-water mark".to_owned(),
            };
            let numbers: Vec<u64> = group.iter().map(|fold| fold.number).collect();
            let (count, which) = (points(numbers.len() as u64), runs(numbers));
            format!("Fold {count} of {} ({which}){why}{}.", names(*source), gives(group))
        })
        .collect()
}

fn gives(group: &[&Fold]) -> String {
    let own = group.iter().filter_map(|fold| fold.own_bytes).fold(0_u64, u64::saturating_add);
    let unmeasured = group.iter().filter(|fold| fold.own_bytes.is_none()).count();
    match (unmeasured, own) {
        (0, _) => format!("; this gives back at least {}", Size(own)),
        (_, 0) => "; what this gives back is not yet measured".to_owned(),
        _ => format!("; this gives back at least {}, with {unmeasured} of them not yet measured", Size(own)),
    }
}

fn keeps_in_words(keeps: &[Kept], names: Names<'_>) -> Vec<String> {
    let kept = keeps_by_source(keeps, names).into_iter();
    kept.map(|(points, reasons)| format!("Keep {points}: {reasons}.")).collect()
}

/// How many points of each source are kept, and for what reasons.
fn keeps_by_source(keeps: &[Kept], names: Names<'_>) -> Vec<(String, String)> {
    let mut sources: BTreeMap<SourceId, (u64, BTreeMap<usize, u64>)> = BTreeMap::new();
    for kept in keeps {
        let (points, reasons) = sources.entry(kept.source).or_default();
        *points += 1;
        for reason in &kept.reasons {
            *reasons.entry(KEEP_WORDS.iter().position(|(is, _)| is(reason)).unwrap_or(0)).or_default() += 1;
        }
    }
    sources
        .into_iter()
        .map(|(source, (count, reasons))| {
            let reasons: Vec<String> = reasons
                .into_iter()
                .map(|(place, count)| {
                    format!("{count} {}", KEEP_WORDS.get(place).map_or("", |(_, words)| words))
                })
                .collect();
            (format!("{} of {}", points(count), names(source)), reasons.join(", "))
        })
        .collect()
}

type IsKeep = fn(&Keep) -> bool;

const KEEP_WORDS: [(IsKeep, &str); 15] = [
    (|keep| matches!(keep, Keep::LegalHold), "under legal hold"),
    (|keep| matches!(keep, Keep::Pinned), "pinned"),
    (|keep| matches!(keep, Keep::Leased), "in use"),
    (|keep| matches!(keep, Keep::FloorAge { .. }), "younger than the floor's age"),
    (|keep| matches!(keep, Keep::FloorPoints), "of the floor's newest points"),
    (|keep| matches!(keep, Keep::NewestComplete), "newest complete"),
    (|keep| matches!(keep, Keep::Newest), "newest of all"),
    (|keep| matches!(keep, Keep::Last), "among the last"),
    (|keep| is_rung(keep, "hourly"), "hourly"),
    (|keep| is_rung(keep, "daily"), "daily"),
    (|keep| is_rung(keep, "weekly"), "weekly"),
    (|keep| is_rung(keep, "monthly"), "monthly"),
    (|keep| is_rung(keep, "yearly"), "yearly"),
    (|keep| matches!(keep, Keep::NoCounts), "while there is room"),
    (|keep| matches!(keep, Keep::Frozen), "until the clock is confirmed"),
];

fn is_rung(keep: &Keep, word: &str) -> bool {
    matches!(keep, Keep::Rung(period) if period.rung().word() == word)
}

fn points(count: u64) -> String {
    if count == 1 { "1 point".to_owned() } else { format!("{count} points") }
}

/// Numbers in order, runs of them as `3 to 9`.
fn runs(mut numbers: Vec<u64>) -> String {
    numbers.sort_unstable();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let listed = runs.iter().take(RUNS_MAX).map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    });
    let mut text = listed.collect::<Vec<_>>().join(", ");
    if let Some((first, _)) = runs.get(RUNS_MAX) {
        text.push_str(&format!(" and others from {first} on"));
    }
    text
}
