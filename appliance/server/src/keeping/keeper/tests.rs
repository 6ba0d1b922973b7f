//! A keeper on a clock that is moved by hand.

use medium::sim::{SimClock, SimDisk, SimEntropy};
use model::record::{Label, Totals};
use model::{SequenceNumber, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::{NewPoint, Options, World};
use retention::PoolBounds;
use zeroize::Zeroizing;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Time = Time::from_parts(1_800_000_000, 0);

/// A pool with one source, and its keeper, on a clock that is moved by hand.
struct Kept {
    clock: SimClock,
    pool: Pool,
    keeper: Keeper,
    source: SourceId,
}

impl Kept {
    fn by(policy: &str) -> Self {
        let clock = SimClock::new(NOW);
        let cost = PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 };
        let world = World {
            disk: Arc::new(SimDisk::new(1)),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SimEntropy::new(1)),
        };
        let key = Unlock::KeyFile(Zeroizing::new([7; 32]));
        let mut pool = Pool::create(world, &[key], Options { cost, ..Options::default() }).unwrap();
        let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
        let source = pool.add_source(machine.id, &Label::new("files").unwrap()).unwrap().id;
        let rules = retention::Policy::parse(policy).unwrap().encode();
        pool.set_setting(&settings::policy_key(source), Some(rules)).unwrap();
        let (figures, refusals) = (Arc::default(), Arc::default());
        let keeper = Keeper::new(pool.shared(), Arc::new(clock.clone()), [3; 16], figures, refusals);
        Self { clock, pool, keeper, source }
    }

    /// A point arrives, of which the agent says that it was finished at that time.
    fn add_point(&mut self, finished: Time) {
        let number = self.points().last().map_or(1, |last| last + 1);
        let point = NewPoint {
            source: self.source,
            sequence: SequenceNumber(number),
            started: finished,
            finished,
            root: tree::Root::EMPTY,
            totals: Totals::default(),
            exceptions: Vec::new(),
            exceptions_count: 0,
        };
        self.pool.commit_point(point).unwrap();
    }

    /// The keeper does all that is to be done; what points are left.
    fn kept(&mut self) -> Vec<u64> {
        for _ in 0..100 {
            self.keeper.work(&mut self.pool);
        }
        self.points()
    }

    fn points(&self) -> Vec<u64> {
        let source = self.source;
        self.pool.shared().registry(|registry| registry.points_of(source).map(|point| point.number).collect())
    }

    /// The wall clock is set forward by somebody.
    fn jump(&self, by: Duration) {
        self.clock.set(self.clock.now().after(by));
    }
}

#[test]
fn a_floor_ends_when_its_time_was_lived_through_and_not_when_a_clock_says_so() {
    let mut kept = Kept::by("last=1 floor-points=1 floor-age=300s");
    for _ in 0..3 {
        kept.clock.advance(MINUTE);
        kept.kept();
        kept.add_point(NOW);
    }
    // In steps that nobody takes for a jump.
    for _ in 0..4 {
        kept.clock.advance(MINUTE / 4);
        kept.jump(2 * MINUTE);
        assert_eq!(kept.kept(), [1, 2, 3], "{:?} after the first", kept.clock.monotonic());
        assert!(!kept.keeper.is_frozen);
    }
    kept.clock.advance(2 * MINUTE);
    assert_eq!(kept.kept(), [2, 3], "five minutes after the first one, and less after the second");
    kept.clock.advance(MINUTE);
    assert_eq!(kept.kept(), [3]);
}

#[test]
fn a_clock_that_jumps_while_the_appliance_runs_keeps_everything_until_it_is_confirmed() {
    let mut kept = Kept::by("last=2 floor-points=1 floor-age=0s");
    (0..2).for_each(|_| kept.add_point(NOW));
    assert_eq!(kept.kept(), [1, 2]);
    kept.clock.advance(MINUTE);
    kept.jump(11 * MINUTE);
    kept.add_point(NOW);
    assert_eq!(kept.kept(), [1, 2, 3], "the clock cannot be believed");
    assert!(kept.keeper.is_frozen);
    kept.clock.advance(DAY);
    assert_eq!(kept.kept(), [1, 2, 3], "nor later");
    kept.pool.set_setting(CLOCK_CONFIRMED, Some(Vec::new())).unwrap();
    assert_eq!(kept.kept(), [2, 3]);
    assert!(!kept.keeper.is_frozen);
}

#[test]
fn days_are_those_on_which_points_arrived_whatever_the_agent_says() {
    let mut kept = Kept::by("daily=2 floor-points=1 floor-age=0s");
    // On each day one point; the agent's clock stands still, or runs backwards by years.
    for day in 0..4 {
        kept.clock.advance(DAY);
        kept.kept();
        kept.add_point(if day % 2 == 0 {
            NOW
        } else {
            Time::from_parts(1_000_000_000 - day * 100_000_000, 0)
        });
    }
    assert_eq!(kept.kept(), [3, 4], "one of each of the last two days");
}

#[test]
fn the_keeper_rests_three_times_as_long_as_it_worked_unless_room_is_short() {
    for is_short in [false, true] {
        let mut kept = Kept::by("last=1 floor-points=1 floor-age=0s");
        if is_short {
            let bounds = PoolBounds::parse("capacity=1KiB").unwrap().encode();
            kept.pool.set_setting(settings::BOUNDS, Some(bounds)).unwrap();
        }
        kept.keeper.clock = Arc::new(Ticking(SimClock::new(NOW)));
        (0..3).for_each(|_| kept.add_point(NOW));
        let mut rests = Vec::new();
        while kept.points().len() > 1 && rests.len() < 100 {
            rests.push(kept.keeper.work(&mut kept.pool));
        }
        let is_at_once = rests.last() == Some(&Duration::ZERO);
        assert!(is_at_once == is_short, "{rests:?}");
        assert!(is_short || rests.iter().all(|rest| *rest >= Duration::from_secs(3)), "{rests:?}");
    }
}

/// A clock on which every look takes a second.
struct Ticking(SimClock);

impl Clock for Ticking {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.advance(Duration::from_secs(1));
        self.0.monotonic()
    }
}

#[test]
fn less_room_is_left_each_time_until_a_point_goes() {
    let below = |limit: u64| move |room: u64| room < limit;
    assert_eq!(room_for(1000, 1, below(950)), 900);
    assert_eq!(room_for(1000, 1, below(650)), 600, "what lets nothing go is passed over");
    assert_eq!(room_for(1000, 4, below(950)), 600);
    assert_eq!(room_for(1000, 1, below(0)), 0, "nothing may go");
    assert_eq!(room_for(1000, 11, below(950)), 0, "however often it was");
}
