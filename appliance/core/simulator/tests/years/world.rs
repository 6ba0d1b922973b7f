//! The appliance over two years: its drive, its sources, its keeper, and the power that goes now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use medium::sim::{Fault, FaultPlan, Random, SimClock, SimDisk, SimEntropy};
use medium::{Disk, DiskError, Poisoning};
use model::record::Label;
use model::{SourceId, Time};
use pool::keys::{PassphraseCost, Unlock};
use pool::layout::SegmentLimits;
use pool::{Options, Pool, PoolError, World};
use retention::{
    Certainty, Measure, Now, Outlook, PoolBounds, Prospect, Reach, Simulation, Witnessed, prospect, rates,
};
use zeroize::Zeroizing;

use super::keeper::{Done, Keeper};
use super::sender::{Nature, Sender};

/// Sources, of which five are of one machine each time.
const SOURCES: u64 = 20;
/// On one day in so many the power goes.
const CRASH_EVERY: u64 = 20;
/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// When it begins.
const BEGAN: Time = Time(1_767_225_600_000_000_000);

/// Half of what the sources would take with nothing but their counts and quotas.
pub(crate) fn half_of_the_need(days: u32) -> u64 {
    let mut simulation = Simulation::new(PoolBounds::default(), u64::MAX, BEGAN);
    for number in 1..=SOURCES {
        let nature = Nature::of(number);
        simulation.admit(SourceId(number), nature.policy(), nature.workload());
    }
    (0..days).map(|_| simulation.run_day().used_bytes).max().unwrap_or(0) / 2
}

/// The appliance, and what it must hold.
pub(crate) struct Years {
    random: Random,
    disk: SimDisk,
    clock: SimClock,
    pool: Option<Pool>,
    keeper: Keeper,
    senders: Vec<Sender>,
    /// When the points of each source were received, in order.
    received: BTreeMap<SourceId, Vec<(u64, Witnessed)>>,
    day: u32,
    openings: u64,
    folded: u64,
    over_quota: u64,
    audits: u64,
    /// Crashes so far.
    pub(crate) crashes: u64,
    /// The first day on which points went for room.
    pub(crate) pressed_on: Option<u32>,
}

fn options() -> Options {
    Options {
        limits: SegmentLimits { data_bytes: 32 << 10, meta_bytes: 256 << 10 },
        cost: PassphraseCost { memory_kib: 32, passes: 1, lanes: 1 },
        ..Options::default()
    }
}

fn key() -> Unlock {
    Unlock::KeyFile(Zeroizing::new([7; 32]))
}

impl Years {
    /// An empty pool with its sources.
    pub(crate) fn new(seed: u64, bounds: PoolBounds) -> Self {
        let policies = (1..=SOURCES).map(|number| (SourceId(number), Nature::of(number).policy())).collect();
        let mut years = Self {
            random: Random::new(seed),
            disk: SimDisk::new(seed),
            clock: SimClock::new(BEGAN),
            pool: None,
            keeper: Keeper::new(policies, bounds),
            senders: Vec::new(),
            received: BTreeMap::new(),
            day: 0,
            openings: 0,
            folded: 0,
            over_quota: 0,
            audits: 0,
            crashes: 0,
            pressed_on: None,
        };
        let mut pool = Pool::create(years.world(), &[key()], options()).expect("a pool");
        let label = |text: String| Label::new(&text).expect("a label");
        for number in 0..SOURCES {
            let machine = label(format!("machine{}", number % 5));
            let known = pool.shared().registry(|registry| registry.machine(&machine).cloned());
            let machine = known.unwrap_or_else(|| pool.add_machine(&machine, false).expect("a machine"));
            let source = pool.add_source(machine.id, &label(format!("source{number}"))).expect("a source");
            years.senders.push(Sender::new(source, machine.domain));
        }
        years.pool = Some(pool);
        years
    }

    fn world(&mut self) -> World {
        self.openings += 1;
        World {
            disk: Arc::new(Poisoning::new(Arc::new(self.disk.clone()))),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SimEntropy::new(self.openings)),
        }
    }

    /// How long the appliance has run.
    fn now(&self) -> Witnessed {
        Witnessed(medium::Clock::monotonic(&self.clock).saturating_add(Duration::from_nanos(1)))
    }

    fn pool(&mut self) -> &mut Pool {
        self.pool.as_mut().expect("it is open")
    }

    /// A day: every source sends a point, and the keeper works; the power may go at any moment of it.
    pub(crate) fn run_day(&mut self) {
        if self.random.below(CRASH_EVERY) == 0 {
            let at = self.disk.operations() + 1 + self.random.below(500);
            self.disk.fail(FaultPlan::lasting(Fault::Crash, at));
        }
        for place in 0..self.senders.len() {
            self.clock.advance(DAY / u32::try_from(SOURCES).expect("few"));
            self.step(|years| years.send(place));
        }
        let mut done = Done::default();
        self.step(|years| {
            let (now, mut so_far) = (years.now(), Done::default());
            let Years { keeper, pool, .. } = years;
            let worked = keeper.work(pool.as_mut().expect("it is open"), now, &mut so_far);
            done.was_pressed |= so_far.was_pressed;
            done.was_over_quota |= so_far.was_over_quota;
            done.folded += so_far.folded;
            worked.map(|plan| assert!(plan.shortfalls.is_empty(), "floors leave room: {:?}", plan.shortfalls))
        });
        self.disk.clear_faults();
        self.folded += done.folded;
        self.over_quota += u64::from(done.was_over_quota);
        if done.was_pressed && self.pressed_on.is_none() {
            self.pressed_on = Some(self.day);
        }
        self.day += 1;
    }

    /// Does something until it is done; when the power goes meanwhile it is begun again.
    fn step(&mut self, mut work: impl FnMut(&mut Self) -> Result<(), PoolError>) {
        loop {
            let nanoseconds = u64::try_from(self.now().0.as_nanos()).expect("two years");
            self.pool().shared().set_witnessed(nanoseconds);
            let result = work(self);
            match result {
                _ if matches!(self.disk.space(), Err(DiskError::Crashed { .. })) => self.recover(),
                Ok(()) => return,
                Err(error) => panic!("day {}: {error}", self.day),
            }
        }
    }

    fn send(&mut self, place: usize) -> Result<(), PoolError> {
        let now = self.now();
        let (sender, pool) = (&mut self.senders[place], self.pool.as_mut().expect("it is open"));
        let known = self.received.entry(sender.source.id).or_default();
        if known.last().is_some_and(|(_, at)| *at == now) {
            // It was made in spite of a crash.
            return Ok(());
        }
        sender.send(pool, &mut self.random)?;
        known.push((sender.newest, now));
        Ok(())
    }

    /// The power comes back: all that was acknowledged is there, and the books are right.
    fn recover(&mut self) {
        self.crashes += 1;
        self.pool = None;
        self.disk = self.disk.crash(&mut self.random);
        let world = self.world();
        self.pool = Some(Pool::open(world, &key(), options()).expect("the pool opens again"));
        let now = self.now();
        for sender in &mut self.senders {
            if sender.resume(self.pool.as_ref().expect("it is open")) {
                self.received.entry(sender.source.id).or_default().push((sender.newest, now));
            }
        }
        self.audit();
    }

    /// A recount agrees with the catalog.
    pub(crate) fn audit(&mut self) {
        self.audits += 1;
        let day = self.day;
        let audit = self.pool().audit().expect("a recount");
        assert_eq!(audit.wrong, Vec::<String>::new(), "day {day}");
    }

    /// Bytes of the segments without data.
    pub(crate) fn log_bytes(&mut self) -> u64 {
        let usage = self.pool().shared().usage().expect("figures");
        usage.segment_bytes - usage.data_bytes
    }

    /// The data fits, and nothing under a floor is gone.
    pub(crate) fn check_day(&mut self, capacity: u64) {
        let (day, now) = (self.day, self.now());
        let taken = self.pool().shared().usage().expect("figures").data_bytes;
        assert!(taken <= capacity, "day {day}: {taken} of {capacity}");
        let registry = self.pool().shared().registry(Clone::clone);
        for (source, known) in &self.received {
            let floor = self.keeper.policies[source].floor;
            let floor_points = usize::try_from(floor.points).expect("few").max(1);
            for (place, (number, at)) in known.iter().rev().enumerate() {
                if place >= floor_points && now.since(*at) >= floor.age {
                    break;
                }
                let is_there = registry.points.contains_key(&(*source, *number));
                assert!(is_there, "day {day}: point {number} of {source} is under its floor");
            }
        }
    }

    /// How it goes on, as the appliance would say it.
    pub(crate) fn foretell(&mut self, days: u32) -> Prospect {
        let now = self.now();
        let Self { keeper, pool, .. } = self;
        let pool = pool.as_mut().expect("it is open");
        keeper.measure(pool, 16).expect("measures");
        let state = keeper.picture(pool).expect("a picture");
        let measure = |growth: &pool::catalog::Growth| Measure {
            witnessed: Witnessed(Duration::from_nanos(growth.witnessed)),
            points: growth.points,
            born_bytes: growth.born_bytes,
            written_bytes: growth.written_bytes,
            removed_bytes: growth.removed_bytes,
        };
        let used = pool.shared().sources_in_use().expect("figures");
        let certainty = used.iter().map(|(source, used)| {
            let measures: Vec<Measure> = used.measures.iter().map(measure).collect();
            (*source, Certainty::of(&measures, now))
        });
        let certainty: BTreeMap<SourceId, Certainty> = certainty.collect();
        let rates = rates(&certainty);
        assert_eq!(rates.len() as u64, SOURCES, "all are measured");
        let (policies, bounds) = (&keeper.policies, &keeper.bounds);
        let now = Now { witnessed: now, frozen: None };
        let outlook = Outlook { state: &state, rates: &rates, policies, bounds, now, days };
        prospect(&outlook, certainty)
    }

    /// How far back the points of each source go.
    pub(crate) fn reaches(&mut self) -> BTreeMap<SourceId, Reach> {
        let now = self.now();
        let Self { keeper, pool, .. } = self;
        let state = keeper.picture(pool.as_ref().expect("it is open")).expect("a picture");
        let reach = |its: &retention::SourceState| {
            let points = its.points();
            let mut daily = now;
            for point in points.iter().rev() {
                if daily.since(point.witnessed) > DAY * 3 / 2 {
                    break;
                }
                daily = point.witnessed;
            }
            Reach {
                points: points.len() as u64,
                used_bytes: its.used_bytes,
                oldest: points.first().map_or(Duration::ZERO, |point| now.since(point.witnessed)),
                daily: now.since(daily),
            }
        };
        state.sources.iter().map(|(source, its)| (*source, reach(its))).collect()
    }

    /// What was gone through, in words.
    pub(crate) fn in_figures(&self) -> String {
        format!(
            "{} crashes, {} audits, {} points folded, on {} days for a quota",
            self.crashes, self.audits, self.folded, self.over_quota
        )
    }
}
