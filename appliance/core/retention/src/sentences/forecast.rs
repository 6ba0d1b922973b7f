//! Forecasts and admissions in plain English.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{SourceId, Time};

use super::{Names, keeps_by_source, points};
use crate::admission::{Admission, Refusal};
use crate::forecast::{Forecast, Outlook};
use crate::judge::judge;
use crate::measured::Certainty;
use crate::plan::Kept;
use crate::prospect::Prospect;
use crate::quantity::{Size, Span};
use crate::reach::Reach;
use crate::simulation::DAY;

/// Most groups of points that a sentence names.
const KEPT_MAX: usize = 5;

impl Prospect {
    /// The forecast in sentences, made on a day.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>, today: Time) -> Vec<String> {
        let of = |(source, known): (&SourceId, &Certainty)| {
            let reach = self.forecast.sources.get(source).copied().unwrap_or_default();
            known.in_words(&names(*source), &reach)
        };
        let mut words: Vec<String> = self.certainty.iter().map(of).collect();
        let known = self.certainty.values().any(|known| known.rates().is_some());
        let (early, late) = self.full_between;
        words.push(match self.forecast.full_in_days {
            Some(day) => {
                let between = match (early, late) {
                    (Some(early), Some(late)) if early < day || late > day => {
                        format!(" (between {} and {})", date(today, early), date(today, late))
                    }
                    (Some(early), None) => format!(" ({} at the earliest)", date(today, early)),
                    _ => String::new(),
                };
                format!(
                    "The pool is full on {}, in {}{between}; from then on points go for room.",
                    date(today, day),
                    day_count(day)
                )
            }
            None if !known && !self.certainty.is_empty() => {
                "When the pool is full cannot be told yet.".to_owned()
            }
            None => format!(
                "The pool does not fill up in {}; it then holds {}{}.",
                day_count(self.forecast.days),
                Size(self.forecast.used_bytes),
                early.map_or_else(String::new, |early| format!(
                    "; if everything changes as much as it may, it is full on {}",
                    date(today, early)
                ))
            ),
        });
        words.extend(self.forecast.refusal_in_words(names, today));
        words
    }
}

impl Certainty {
    fn in_words(&self, name: &str, reach: &Reach) -> String {
        match self {
            Self::Measured { rates, span, points: count, margin } => {
                let sure = match margin.div_ceil(10) {
                    0 => String::new(),
                    percent => format!(", give or take {percent}%"),
                };
                format!(
                    "{name}: {} of daily points, the oldest {} back; {} in {}. It brings {} a day, as measured over {} and {}{sure}.",
                    days(reach.daily),
                    days(reach.oldest),
                    points(reach.points),
                    Size(reach.used_bytes),
                    Size(rates.new_bytes_per_day),
                    Span(*span),
                    points(*count)
                )
            }
            Self::Unknown { points: count, wait } => {
                let soon = if wait.is_zero() {
                    "with its next point".to_owned()
                } else {
                    format!("with the first point after {} more", Span(*wait))
                };
                format!(
                    "{name}: nothing can be told yet of its {}, because two that are a day apart are needed; it can be {soon}. Until then it is taken to stay as it is.",
                    points(*count)
                )
            }
        }
    }
}

impl Forecast {
    fn refusal_in_words(&self, names: Names<'_>, today: Time) -> Option<String> {
        let (day, source) = self.refused_in_days?;
        let (when, name) = (date(today, day), names(source));
        Some(format!("On {when} new data of {name} is refused, because floors leave no room."))
    }
}

impl Admission {
    /// What admitting the newcomer would mean, in sentences.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>, today: Time) -> Vec<String> {
        let newcomer = names(self.newcomer.source);
        let figures = format!(
            "its floor takes {}, all others take at least {}, and the pool may hold {}",
            Size(self.floor_bytes),
            Size(self.others_bytes),
            Size(self.room_bytes)
        );
        if !self.fits() {
            return vec![format!(
                "{newcomer} is refused: {figures}, so {} are lacking. Add a drive, or lower its floor or that of others.",
                Size(self.lacking_bytes())
            )];
        }
        let mut words = vec![format!("{newcomer} fits: {figures}.")];
        for (source, without) in &self.without.sources {
            if let Some(with) = self.with.sources.get(source).filter(|with| differs(without, with)) {
                words.push(format!(
                    "{} then reaches back {} instead of {}, with points for every day of the last {} instead of {}.",
                    names(*source),
                    days(with.oldest),
                    days(without.oldest),
                    days(with.daily),
                    days(without.daily)
                ));
            }
        }
        let full = |forecast: &Forecast| match forecast.full_in_days {
            Some(day) => format!("is full on {}", date(today, day)),
            None => format!("does not fill up in {}", day_count(forecast.days)),
        };
        words.push(format!("The pool {}; without {newcomer} it {}.", full(&self.with), full(&self.without)));
        words.extend(self.with.refusal_in_words(names, today));
        words
    }
}

impl Admission {
    /// Why the first backup of a source goes no further: what its floor needs, what there is, what keeps the rest, and
    /// what would help.
    #[must_use]
    pub fn refusal_in_words(&self, newcomer: &str, refusal: &Refusal<'_>) -> String {
        let Refusal { announced_bytes, sent_bytes, used_bytes, kept } = *refusal;
        let (room, others) = (Size(self.room_bytes), Size(self.others_bytes));
        let left = Size(self.room_bytes.saturating_sub(self.others_bytes));
        let sent = format!("{} of it came, and the pool holds {}", Size(sent_bytes), Size(used_bytes));
        let why = match announced_bytes {
            Some(announced) if !self.fits() => format!(
                "is refused: it is {}, its floor takes {}, and there are {left} for it if everything goes that may go, so {} are lacking ({sent})",
                Size(announced),
                Size(self.floor_bytes),
                Size(self.lacking_bytes())
            ),
            Some(announced) => format!(
                "is refused: it is larger than the {} that its agent spoke of ({sent})",
                Size(announced)
            ),
            None => format!(
                "is refused: its agent did not say how large it is, and the room that is free is used up ({sent})"
            ),
        };
        format!(
            "{newcomer} {why}. Nothing of others goes for it. The pool may hold {room}, and others keep {others} in any case: {kept}. What would help: add a drive or raise the capacity; lower its floor or that of others; protect less of it."
        )
    }
}

impl Outlook<'_> {
    /// What would be left if everything went that may go, and why.
    #[must_use]
    pub fn kept_in_words(&self, names: Names<'_>) -> String {
        let mut keeps = Vec::new();
        for (source, its) in &self.state.sources {
            let policy = self.policies.get(source).copied().unwrap_or_default();
            let judged = its.points().iter().zip(judge(its.points(), &policy, self.now.witnessed));
            keeps.extend(judged.filter_map(|(point, mut reasons)| {
                reasons.retain(|reason| reason.protects());
                let kept = Kept { source: *source, number: point.number, reasons };
                (!kept.reasons.is_empty()).then_some(kept)
            }));
        }
        let kept = keeps_by_source(&keeps, names);
        let kept: Vec<String> =
            kept.into_iter().map(|(points, reasons)| format!("{points} ({reasons})")).collect();
        let more = kept.len().saturating_sub(KEPT_MAX);
        match (kept.is_empty(), more) {
            (true, _) => "no points of theirs".to_owned(),
            (_, 0) => kept.join(", "),
            _ => format!("{}, and {more} more", kept.get(..KEPT_MAX).unwrap_or_default().join(", ")),
        }
    }
}

/// Whether a reach is another one to whoever looks at days.
fn differs(one: &Reach, other: &Reach) -> bool {
    days(one.oldest) != days(other.oldest) || days(one.daily) != days(other.daily)
}

/// Whole days: a mean to the hour would promise too much.
fn days(span: Duration) -> String {
    let days = span.saturating_add(DAY / 2).as_secs() / DAY.as_secs();
    if days == 0 { Span(span).to_string() } else { day_count(u32::try_from(days).unwrap_or(u32::MAX)) }
}

/// When a drive is full, foretold for so many days.
#[must_use]
pub fn drive_in_words(name: &str, full_in_days: Option<u32>, days: u32, today: Time) -> String {
    match full_in_days {
        Some(0) => format!("{name} is full."),
        Some(day) => format!("{name} is full on {}, in {}.", date(today, day), day_count(day)),
        None => format!("{name} does not fill up in {}.", day_count(days)),
    }
}

fn day_count(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// A day after another one: `14 March 2027`.
fn date(today: Time, days: u32) -> String {
    let day = today.after(DAY.saturating_mul(days));
    let stamp = Timestamp::from_nanosecond(i128::from(day.0)).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string()
}
