//! Two years of twenty sources on a pool of half the size that they would need, and how well that was foretold.

use std::collections::BTreeMap;

use model::{SourceId, Time};
use retention::{
    Forecast, Outlook, Policies, Policy, PoolBounds, Rates, Reach, Simulation, Witnessed, Workload, forecast,
};

const GIB: u64 = 1 << 30;
const DAYS: u32 = 730;
const SOURCES: u64 = 20;

/// A number that differs from day to day and source to source, below `end`.
fn chance(source: u64, day: u32, end: u64) -> u64 {
    let mut x =
        source.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(day).wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 32)) % end
}

fn began() -> Time {
    Time::parse("2026-01-01T00:00:00Z").expect("a moment")
}

fn policy(source: u64) -> Policy {
    let text = match source % 5 {
        0 => "daily=30 weekly=12 monthly=12 floor-points=3 floor-age=7d",
        1 => "floor-points=5 floor-age=14d",
        2 => "hourly=24 daily=14 weekly=8 floor-points=2 floor-age=3d",
        3 => "last=60 yearly=all floor-points=3 floor-age=10d",
        _ => "floor-points=3 floor-age=7d quota=120GiB",
    };
    Policy::parse(text).expect("a policy")
}

/// What a source sends on a day: by its kind, a fifth more or less, and much less at weekends for some.
fn workload(source: u64, day: u32) -> Workload {
    let size = 2 + source % 7 * 6;
    let points_by_day = match source % 4 {
        0 => vec![1],
        1 => vec![4],
        2 => vec![2, 2, 2, 2, 2, 0, 0],
        _ => vec![1, 1, 1, 1, 1, 1, 0],
    };
    let points = u64::from(points_by_day.iter().copied().max().expect("a pattern"));
    let noise = 800 + chance(source, day, 401);
    let per_day = size * GIB / (8 + source % 5 * 4) * noise / 1000;
    let replaced = per_day * (90 + source % 3 * 5) / 100;
    let young_share = u16::try_from(300 + source % 8 * 100).expect("thousandths");
    Workload {
        first_bytes: size * GIB,
        points_by_day,
        new_bytes: per_day / points,
        replaced_bytes: replaced / points,
        young_share,
    }
}

/// A world in which every day differs, and what was received in it.
struct World {
    simulation: Simulation,
    day: u32,
    refusals: u64,
    pressed_on: Option<u32>,
}

impl World {
    fn new(bounds: &str) -> Self {
        let bounds = PoolBounds::parse(bounds).expect("bounds");
        let simulation = Simulation::new(bounds, 100 << 40, began());
        Self { simulation, day: 0, refusals: 0, pressed_on: None }
    }

    fn run_day(&mut self) -> (u64, BTreeMap<SourceId, Reach>) {
        for source in 1..=SOURCES {
            self.simulation.admit(SourceId(source), policy(source), workload(source, self.day));
        }
        let day = self.simulation.run_day();
        self.refusals += day.sources.values().map(|its| its.refusals).sum::<u64>();
        if day.pressed && self.pressed_on.is_none() {
            self.pressed_on = Some(self.day);
        }
        self.day += 1;
        (day.used_bytes, day.sources.iter().map(|(source, its)| (*source, its.reach)).collect())
    }

    /// What was sent in the last four weeks, as an appliance would have measured it.
    fn rates(&self) -> BTreeMap<SourceId, Rates> {
        let measured = |source: u64| {
            let (mut new, mut dying, mut points) = (0, 0, 0);
            for day in self.day - 28..self.day {
                let sent = workload(source, day);
                let index = usize::try_from(day).expect("a day") % sent.points_by_day.len();
                let count = u64::from(sent.points_by_day[index]);
                (new, dying, points) =
                    (new + count * sent.new_bytes, dying + count * sent.replaced_bytes, points + count);
            }
            Rates {
                new_bytes_per_day: new / 28,
                dying_bytes_per_day: dying / 28,
                points_per_week: u32::try_from(points / 4).expect("few points"),
            }
        };
        (1..=SOURCES).map(|source| (SourceId(source), measured(source))).collect()
    }

    fn forecast(&self, bounds: &str, days: u32) -> Forecast {
        let (state, bounds) = (self.simulation.state(), PoolBounds::parse(bounds).expect("bounds"));
        let policies: Policies = self.simulation.policies().clone();
        forecast(&Outlook {
            state: &state,
            rates: &self.rates(),
            policies: &policies,
            bounds: &bounds,
            now: self.simulation.now(),
            days,
        })
    }
}

/// Half of what two years would take with nothing but counts and quotas.
fn half_of_the_need() -> String {
    let mut world = World::new("");
    let mut most = 0;
    for _ in 0..DAYS {
        most = world.run_day().0.max(most);
    }
    assert_eq!((world.refusals, world.pressed_on), (0, None));
    format!("capacity={}B high=90% low=85%", most / 2)
}

/// What no plan may have touched: written down when it was received.
fn check_floors(world: &World, received: &mut BTreeMap<SourceId, Vec<(u64, Witnessed)>>) {
    let now = world.simulation.now().witnessed;
    for (source, its) in world.simulation.state().sources {
        let known = received.entry(source).or_default();
        let newest = known.last().map_or(0, |(number, _)| *number);
        let fresh = its.points().iter().filter(|point| point.number > newest);
        known.extend(fresh.map(|point| (point.number, point.witnessed)));
        // Every floor is older than a day, so all of the day's points are still here.
        assert!(known.iter().map(|(number, _)| *number).eq(1..=known.len() as u64), "points of {source}");
        let floor = policy(source.0).floor;
        let floor_points = usize::try_from(floor.points).expect("few");
        let mut kept = its.points().iter().rev();
        for (place, (number, at)) in known.iter().rev().enumerate() {
            if place >= floor_points.max(1) && now.since(*at) >= floor.age {
                break;
            }
            assert_eq!(kept.next().map(|point| point.number), Some(*number), "floor of {source}");
        }
    }
}

/// Days on which a forecast is made for the end of the two years.
const FORECASTS_ON: [u32; 3] = [250, 400, 550];

/// Days on which it is foretold when the pool is full.
const FILL_FORETOLD_ON: [u32; 2] = [30, 60];

fn wrong(told: f64, found: f64) -> f64 {
    (told - found).abs() / found.max(1.0)
}

fn figures(reach: &Reach) -> [f64; 4] {
    let days = |span: std::time::Duration| span.as_secs_f64() / 86_400.0;
    [days(reach.oldest), days(reach.daily), reach.points as f64, reach.used_bytes as f64]
}

#[test]
fn floors_and_capacity_hold_every_day_and_forecasts_are_right() {
    let text = half_of_the_need();
    let bounds = PoolBounds::parse(&text).expect("bounds");
    let capacity = bounds.capacity_bytes.expect("a capacity");
    let mut world = World::new(&text);
    let mut received = BTreeMap::new();
    let (mut fills, mut forecasts) = (Vec::new(), Vec::new());
    let mut recent: BTreeMap<SourceId, Vec<[f64; 4]>> = BTreeMap::new();
    for day in 0..DAYS {
        let (used, reaches) = world.run_day();
        assert!(used <= capacity, "day {day}: {used} of {capacity}");
        assert_eq!(world.refusals, 0, "day {day}");
        check_floors(&world, &mut received);
        if FILL_FORETOLD_ON.contains(&world.day) {
            let forecast = world.forecast(&text, DAYS);
            fills.push(world.day + forecast.full_in_days.expect("half is too little"));
        }
        if FORECASTS_ON.contains(&world.day) {
            forecasts.push(world.forecast(&text, DAYS - world.day));
        }
        if day >= DAYS - 28 {
            for (source, reach) in reaches {
                recent.entry(source).or_default().push(figures(&reach));
            }
        }
    }
    let full_on = world.pressed_on.expect("half is too little");
    for told in fills {
        assert!(wrong(f64::from(told), f64::from(full_on)) < 0.15, "full on day {full_on}, foretold {told}");
    }
    let mut errors: [Vec<f64>; 4] = Default::default();
    for (source, days) in &recent {
        let found: [f64; 4] =
            std::array::from_fn(|place| days.iter().map(|day| day[place]).sum::<f64>() / days.len() as f64);
        for forecast in &forecasts {
            let told = figures(&forecast.sources[source]);
            for ((told, found), errors) in told.into_iter().zip(found).zip(&mut errors) {
                errors.push(wrong(told, found));
            }
        }
    }
    let mean = errors.map(|errors| errors.iter().sum::<f64>() / errors.len() as f64);
    println!("mean errors of the oldest point, daily points, number and bytes: {mean:.3?}");
    assert!(mean.iter().all(|error| *error < 0.15), "oldest, daily, number, bytes: {mean:?}");
}
