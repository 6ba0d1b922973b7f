//! Two years of twenty sources on a pool of half the size that they would need, day by day, with crashes.
//!
//! Everything is real but the drive and the clock: chunks, trees, commits, counting, folding and giving room back. What
//! goes is what [`retention::plan`] says, carried out as the keeper of the appliance does it. Every day the data fits its
//! capacity and no floor is touched; after every crash and every month a recount agrees; and what was foretold on
//! three days is compared with what happened.
//!
//! Bounded is the data. Trees as small as these have more bytes of pages and records than of data; of those it is shown that
//! they do not grow: the log is as long after two years as after one.

mod years {
    pub(crate) mod keeper;
    pub(crate) mod sender;
    pub(crate) mod world;
}

use std::collections::BTreeMap;

use model::SourceId;
use retention::{PoolBounds, Prospect, Reach};
use years::world::{Years, half_of_the_need};

/// Days that are played.
const DAYS: u32 = 730;
/// Days at the end over which a forecast is compared with what happened.
const MEAN_DAYS: u32 = 28;
/// The day on which it is foretold when the pool is full.
const FILL_FORETOLD_ON: u32 = 30;
/// Days on which it is foretold how far points reach at the end.
const FORECASTS_ON: [u32; 3] = [30, 180, 365];
/// How far a forecast may be off.
const ERROR_MAX: f64 = 0.15;

/// Which share of the sources it may not be further off for, in the order of the figures. Daily points end at a step of the
/// plan, which moves by weeks.
const WITHIN_MIN: [f64; 4] = [0.9, 0.65, 0.85, 0.9];

fn wrong(told: f64, found: f64) -> f64 {
    (told - found).abs() / found.max(1.0)
}

fn figures(reach: &Reach) -> [f64; 4] {
    let days = |span: std::time::Duration| span.as_secs_f64() / 86_400.0;
    [days(reach.oldest), days(reach.daily), reach.points as f64, reach.used_bytes as f64]
}

#[test]
fn two_years_on_half_the_room_keep_every_promise_and_end_as_was_foretold() {
    let capacity = half_of_the_need(DAYS);
    let bounds = PoolBounds::parse(&format!("capacity={capacity}B high=90% low=85%")).expect("bounds");
    let mut years = Years::new(2, bounds);
    let mut forecasts: BTreeMap<u32, Prospect> = BTreeMap::new();
    let mut recent: BTreeMap<SourceId, Vec<[f64; 4]>> = BTreeMap::new();
    let mut log_bytes = 0;
    for day in 0..DAYS {
        years.run_day();
        if day == DAYS / 2 {
            log_bytes = years.log_bytes();
        }
        years.check_day(capacity);
        if day % 30 == 29 {
            years.audit();
        }
        if FORECASTS_ON.contains(&(day + 1)) {
            forecasts.insert(day + 1, years.foretell(DAYS - day - 1));
        }
        if day >= DAYS - MEAN_DAYS {
            for (source, reach) in years.reaches() {
                recent.entry(source).or_default().push(figures(&reach));
            }
        }
    }
    years.audit();
    let at_end = years.log_bytes();
    println!("the log has {at_end} bytes, after half of the time it had {log_bytes}");
    assert!(at_end <= 2 * log_bytes, "{at_end} {log_bytes}");
    let full_on = years.pressed_on.expect("half is too little");
    let told = forecasts[&FILL_FORETOLD_ON].forecast.full_in_days.expect("half is too little");
    let told = told + FILL_FORETOLD_ON;
    println!("full on day {full_on}, foretold on day {FILL_FORETOLD_ON}: {told}; {}", years.in_figures());
    assert!(wrong(f64::from(told), f64::from(full_on)) < ERROR_MAX, "full on day {full_on}, not {told}");
    assert!(years.crashes >= 10, "{} crashes", years.crashes);
    for (day, prospect) in &forecasts {
        let mut errors: [Vec<f64>; 4] = Default::default();
        for (source, days) in &recent {
            let told = figures(&prospect.forecast.sources[source]);
            for (place, errors) in errors.iter_mut().enumerate() {
                let found = days.iter().map(|day| day[place]).sum::<f64>() / days.len() as f64;
                errors.push(wrong(told[place], found));
            }
        }
        let share = |errors: &Vec<f64>| {
            errors.iter().filter(|error| **error < ERROR_MAX).count() as f64 / errors.len() as f64
        };
        let within = errors.each_ref().map(share);
        println!("day {day}: so many sources are within {ERROR_MAX} of it: {within:.2?}");
        assert!(within.iter().zip(WITHIN_MIN).all(|(share, least)| *share >= least), "day {day}: {within:?}");
        let mean = errors.map(|errors| errors.iter().sum::<f64>() / errors.len() as f64);
        println!("day {day}: mean errors of the oldest point, daily points, number and bytes: {mean:.3?}");
        assert!(mean.iter().all(|error| *error < ERROR_MAX), "day {day}: {mean:?}");
    }
}
