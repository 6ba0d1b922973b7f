//! Forecasts and admissions in plain English.

use std::time::Duration;

use super::{Names, points};
use crate::admission::Admission;
use crate::forecast::Forecast;
use crate::quantity::{Size, Span};
use crate::reach::Reach;
use crate::simulation::DAY;

impl Forecast {
    /// The forecast in sentences.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>) -> Vec<String> {
        let mut words: Vec<String> = self
            .sources
            .iter()
            .map(|(source, reach)| {
                format!(
                    "{} reaches back {}, with points for every day of the last {}: {} in {}.",
                    names(*source),
                    days(reach.oldest),
                    days(reach.daily),
                    points(reach.points),
                    Size(reach.used_bytes)
                )
            })
            .collect();
        words.push(match self.full_in_days {
            Some(day) => format!("The pool is full in {day} days; from then on points go for room."),
            None => format!(
                "The pool does not fill up in {} days; it then holds {}.",
                self.days,
                Size(self.used_bytes)
            ),
        });
        words.extend(self.refused_in_days.map(|(day, source)| {
            format!("In {day} days new data of {} is refused, because floors leave no room.", names(source))
        }));
        words
    }
}

impl Admission {
    /// What admitting the newcomer would mean, in sentences.
    #[must_use]
    pub fn in_words(&self, names: Names<'_>) -> Vec<String> {
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
            Some(day) => format!("is full in {day} days"),
            None => format!("does not fill up in {} days", forecast.days),
        };
        words.push(format!("The pool {}; without {newcomer} it {}.", full(&self.with), full(&self.without)));
        words.extend(self.with.refused_in_days.map(|(day, source)| {
            format!("In {day} days new data of {} is refused, because floors leave no room.", names(source))
        }));
        words
    }
}

/// Whether a reach is another one to whoever looks at days.
fn differs(one: &Reach, other: &Reach) -> bool {
    days(one.oldest) != days(other.oldest) || days(one.daily) != days(other.daily)
}

/// Whole days: a mean to the hour would promise too much.
fn days(span: Duration) -> String {
    let days = span.saturating_add(DAY / 2).as_secs() / DAY.as_secs();
    match days {
        0 => Span(span).to_string(),
        1 => "1 day".to_owned(),
        _ => format!("{days} days"),
    }
}
