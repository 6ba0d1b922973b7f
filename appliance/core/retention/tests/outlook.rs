//! Simulations, forecasts and admissions of small pools, whose figures can be worked out by hand.

use std::collections::BTreeMap;

use model::{SourceId, Time};
use retention::{
    Admission, Certainty, Forecast, Measure, Newcomer, Outlook, Policy, PoolBounds, Rates, SIMULATED,
    Simulation, Timeline, Witnessed, Workload, admission, forecast, prospect, simulate,
};

const GIB: u64 = 1 << 30;

fn policy(text: &str) -> Policy {
    Policy::parse(text).expect("a policy")
}

fn bounds(text: &str) -> PoolBounds {
    PoolBounds::parse(text).expect("bounds")
}

/// A hundred to begin with, and one a day that replaces one.
fn steady(young_share: u16) -> Workload {
    Workload {
        first_bytes: 100 * GIB,
        points_by_day: vec![1],
        new_bytes: GIB,
        replaced_bytes: GIB,
        young_share,
    }
}

fn played(text: &str, workload: &Workload, pool: &str, days: u32) -> Timeline {
    let began = Time::parse("2026-01-01T00:00:00Z").expect("a moment");
    simulate(&policy(text), workload, &bounds(pool), began, days)
}

/// Points, GiB, days back to the oldest, and the refusals of all days.
fn check(text: &str, workload: &Workload, pool: &str, expected: (u64, u64, u64, u64)) {
    let timeline = played(text, workload, pool, 200);
    let last = timeline.days.last().expect("days");
    let its = last.sources[&SIMULATED];
    let refusals = timeline.days.iter().map(|day| day.sources[&SIMULATED].refusals).sum();
    let oldest = its.reach.oldest.as_secs() / 86_400;
    assert_eq!((its.reach.points, last.used_bytes / GIB, oldest, refusals), expected, "{text} {pool}");
    assert_eq!(played(text, workload, pool, 200), timeline);
}

#[test]
fn policies_are_played_forward() {
    // A week of points: the living hundred, and one that died young for each point but the newest.
    check("last=7 floor-points=3 floor-age=3d", &steady(1000), "", (7, 106, 7, 0));
    // What dies old is held until the oldest point goes: the same with points in a row.
    check("last=7 floor-points=3 floor-age=3d", &steady(0), "", (7, 106, 7, 0));
    // The floor is longer than what is counted; a point that is twenty days old has just left it.
    check("last=7 floor-points=3 floor-age=20d", &steady(1000), "", (19, 118, 19, 0));
    // No counts: everything stays while there is room, down to the low-water mark when there is none.
    check("floor-points=3 floor-age=3d", &steady(1000), "", (200, 299, 200, 0));
    check("floor-points=3 floor-age=3d quota=130GiB", &steady(1000), "", (31, 130, 200, 0));
    // Days without points, and rungs: ten days, two more weeks, and two more points of the last day.
    let workdays = Workload { points_by_day: vec![4, 4, 4, 4, 4, 0, 0], ..steady(1000) };
    check("daily=10 weekly=4 floor-points=1 floor-age=1d", &workdays, "", (14, 113, 21, 0));
}

#[test]
fn a_floor_that_does_not_fit_refuses_and_recovers() {
    // The floor takes 100 + 29 by itself, and 120 is all there is: refused until points come of age.
    let timeline =
        played("floor-points=1 floor-age=30d", &steady(1000), "capacity=120GiB high=100% low=100%", 200);
    let refused: Vec<bool> = timeline.days.iter().map(|day| day.sources[&SIMULATED].refusals > 0).collect();
    assert!(refused[..20].iter().all(|refused| !refused) && refused[21]);
    assert!(timeline.days.iter().all(|day| day.used_bytes <= 120 * GIB));
    // Whenever a point comes of age one is taken again.
    let taken = refused[30..].iter().filter(|refused| !**refused).count();
    assert!((100..150).contains(&taken), "{taken}");
}

/// Points share most of what has died, so a plan names more points than it needs. Carried out until it is enough, it
/// ends near its mark, give or take the last fold; carried out to its end it would leave the floor alone, with 103 GiB.
#[test]
fn no_more_goes_for_room_than_is_needed() {
    let workload =
        Workload { new_bytes: GIB / 2, replaced_bytes: GIB / 2, points_by_day: vec![4], ..steady(100) };
    let timeline = played("floor-points=3 floor-age=2d", &workload, "capacity=300GiB high=90% low=50%", 200);
    let pressed: Vec<u64> =
        timeline.days.iter().filter(|day| day.pressed).map(|day| day.used_bytes * 10 / GIB).collect();
    assert!(pressed.len() > 1, "{pressed:?}");
    assert!(pressed.iter().all(|tenths| (1_200..=1_500).contains(tenths)), "{pressed:?}");
}

/// A pool of 300 GiB with one source that has sent for 60 days, and what was measured of it.
fn pool() -> (Simulation, BTreeMap<SourceId, Rates>) {
    let began = Time::parse("2026-01-01T00:00:00Z").expect("a moment");
    let mut simulation = Simulation::new(bounds("high=90% low=85%"), 300 * GIB, began);
    simulation.admit(SourceId(1), policy("floor-points=3 floor-age=7d"), steady(1000));
    for _ in 0..60 {
        simulation.run_day();
    }
    let rates = Rates { new_bytes_per_day: GIB, dying_bytes_per_day: GIB, points_per_week: 7 };
    (simulation, BTreeMap::from([(SourceId(1), rates)]))
}

fn with_outlook<T>(days: u32, ask: impl FnOnce(&Outlook<'_>) -> T) -> T {
    let (simulation, rates) = pool();
    ask(&Outlook {
        state: &simulation.state(),
        rates: &rates,
        policies: simulation.policies(),
        bounds: &bounds("high=90% low=85%"),
        now: simulation.now(),
        days,
    })
}

fn names(source: SourceId) -> String {
    if source == SourceId(1) { "web1/home".to_owned() } else { "new/data".to_owned() }
}

#[test]
fn a_forecast_says_when_the_pool_is_full_and_how_far_points_reach() {
    let Forecast { sources, full_in_days, refused_in_days, .. } = with_outlook(365, forecast);
    // 159 are taken, one more comes every day, and points go above 270.
    assert_eq!((full_in_days, refused_in_days), (Some(111), None));
    let reach = sources[&SourceId(1)];
    assert!((155..=171).contains(&reach.points), "{reach:?}");
    assert!((400..=425).contains(&(reach.oldest.as_secs() / 86_400)), "{reach:?}");
}

/// The first of 2026, and 60 days after it.
fn today() -> Time {
    Time::parse("2026-03-02T12:00:00Z").expect("a moment")
}

/// What is told of the pool in so many days, if so many of its points were measured.
fn told(days: u32, points: usize, noise: u64) -> Vec<String> {
    let measures: Vec<Measure> = (0..points as u64)
        .map(|day| Measure {
            witnessed: Witnessed(std::time::Duration::from_secs((60 - points as u64 + day) * 86_400)),
            points: day + 1,
            born_bytes: day * GIB + day % 2 * noise,
            written_bytes: day * GIB,
            removed_bytes: day * GIB,
        })
        .collect();
    with_outlook(days, |outlook| {
        let certainty = BTreeMap::from([(SourceId(1), Certainty::of(&measures, outlook.now.witnessed))]);
        let rates = retention::rates(&certainty);
        prospect(&Outlook { rates: &rates, ..*outlook }, certainty).in_words(&names, today())
    })
}

#[test]
fn a_forecast_says_how_sure_it_is_and_what_it_cannot_tell() {
    assert_eq!(
        told(365, 29, 0),
        [
            "web1/home: 77 days of daily points, the oldest 411 days back; 163 points in 262 GiB. It brings 1 GiB a day, as measured over 28 d and 28 points.",
            "The pool is full on 21 June 2026, in 111 days; from then on points go for room."
        ]
    );
    let uneven = told(365, 29, GIB / 2);
    assert!(uneven[0].ends_with("and 28 points, give or take 20%."), "{uneven:?}");
    assert!(uneven[1].contains("in 111 days (between 3 June 2026 and 17 July 2026); from"), "{uneven:?}");
    assert_eq!(told(30, 29, 0)[1], "The pool does not fill up in 30 days; it then holds 189 GiB.");
    assert_eq!(
        told(30, 1, 0),
        [
            "web1/home: nothing can be told yet of its 1 point, because two that are a day apart are needed; it can be with its next point. Until then it is taken to stay as it is.",
            "When the pool is full cannot be told yet."
        ]
    );
}

#[test]
fn what_is_expected_of_a_newcomer_is_what_others_do() {
    with_outlook(10, |outlook| {
        let expected = |new_bytes| {
            let policy = Policy::default();
            Newcomer::expected(outlook, SourceId(2), 318 * GIB, new_bytes, policy).rates.new_bytes_per_day
        };
        // The other one has 159 and brings one a day.
        assert_eq!((expected(None), expected(Some(5))), (2 * GIB, 5));
        let none = BTreeMap::new();
        let unmeasured = Outlook { rates: &none, ..*outlook };
        let blind = Newcomer::expected(&unmeasured, SourceId(2), 300, None, Policy::default());
        assert_eq!(blind.rates.new_bytes_per_day, 3);
    });
}

fn newcomer(size_bytes: u64, text: &str) -> Newcomer {
    let rates = Rates { new_bytes_per_day: 2 * GIB, dying_bytes_per_day: 2 * GIB, points_per_week: 7 };
    Newcomer { source: SourceId(2), size_bytes, rates, policy: policy(text) }
}

#[test]
fn a_source_whose_floor_does_not_fit_is_refused_with_the_figures() {
    // The other one can come down to its floor: a hundred that live, and five that died since the
    // oldest of the six points that are younger than seven days.
    let newcomer = newcomer(150 * GIB, "floor-points=3 floor-age=14d");
    let admission: Admission = with_outlook(100, |outlook| admission(outlook, &newcomer));
    assert_eq!((admission.floor_bytes, admission.room_bytes), (178 * GIB, 270 * GIB));
    assert_eq!(admission.others_bytes / GIB, 105);
    assert!(!admission.fits());
    assert_eq!(
        admission.in_words(&names, today()),
        [
            "new/data is refused: its floor takes 178 GiB, all others take at least 105 GiB, and the pool may hold 270 GiB, so 13 GiB are lacking. Add a drive, or lower its floor or that of others."
        ]
    );
}

#[test]
fn a_source_that_fits_shortens_how_far_others_reach() {
    let newcomer = newcomer(100 * GIB, "daily=14 floor-points=3 floor-age=7d");
    let admission = with_outlook(365, |outlook| admission(outlook, &newcomer));
    assert!(admission.fits());
    let (with, without) = (admission.with.sources[&SourceId(1)], admission.without.sources[&SourceId(1)]);
    assert!(with.points < without.points && with.daily < without.daily, "{with:?} {without:?}");
    assert!(admission.with.full_in_days < admission.without.full_in_days);
    assert_eq!(admission.with.refused_in_days, None);
    let words = admission.in_words(&names, today());
    assert_eq!(
        words[0],
        "new/data fits: its floor takes 114 GiB, all others take at least 105 GiB, and the pool may hold 270 GiB."
    );
    assert!(words[1].starts_with("web1/home then reaches back "), "{words:?}");
    assert!(words[2].ends_with("without new/data it is full on 21 June 2026."), "{words:?}");
}

#[test]
fn nothing_measured_and_nothing_there_is_no_trouble() {
    let (state, policies) = Default::default();
    let rates = BTreeMap::new();
    let (bounds, now) = (PoolBounds::default(), Default::default());
    let outlook =
        Outlook { state: &state, rates: &rates, policies: &policies, bounds: &bounds, now, days: 10 };
    assert_eq!(forecast(&outlook).sources.len(), 0);
    let newcomer = newcomer(GIB, "");
    assert!(!admission(&outlook, &newcomer).fits());
}
