//! How long it lasts: the pool as it is, played forward at what was measured of its sources.
//!
//! What sources hold and bring is measured in chunks before compression; what is on the drive is compressed, and has pages and
//! records besides. Here everything is taken to need as much of the drive as all did so far, and that of a source which is kept
//! otherwise than the rest as much more or less as it takes of the drives.

use std::collections::BTreeMap;
use std::time::Duration;

use medium::{Redundancy, Space};
use model::archive::ArchiveError;
use model::{SourceId, Time};
use pool::catalog::Growth;
use pool::{Shared, placement_of};
use retention::{
    Admission, Certainty, HORIZON_DAYS, Measure, Newcomer, Now, Outlook, Policies, Policy, PoolBounds,
    Prospect, Rates, SourceState, State, Witnessed, admission, drive_in_words, prospect, rates,
};
use wire::drive::DriveRow;
use wire::keeping::{AdmissionFigures, Admit, DriveForecast, Foretold, Kept, SourceForecast};

use super::figures::Figures;
use super::orders::name_of;
use super::picture::picture;
use super::settings;
use crate::appliance::Appliance;

/// Points of each source that are measured for a forecast: so many tell how long bytes live.
const RECENT_POINTS: usize = 16;
/// A source that is not there.
const NEWCOMER: SourceId = SourceId(u64::MAX);
/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// The pool as it is, in bytes of its drives as far as everything is kept in the usual way.
pub(super) struct Present {
    pub(super) state: State,
    pub(super) certainty: BTreeMap<SourceId, Certainty>,
    pub(super) rates: BTreeMap<SourceId, Rates>,
    pub(super) policies: Policies,
    pub(super) bounds: PoolBounds,
    pub(super) now: Now,
}

impl Present {
    /// Looks at a pool that is usually kept so; what was measured of points is as old as the last measuring.
    pub(super) fn of(shared: &Shared, figures: &Figures, usual: Redundancy) -> Result<Self, ArchiveError> {
        let (policies, bounds, witness) = shared.registry(|registry| {
            (settings::policies(registry), settings::bounds(registry), settings::witness(registry))
        });
        let mut now = witness.now();
        now.witnessed = now.witnessed.max(Witnessed(Duration::from_nanos(shared.witnessed().unwrap_or(0))));
        let usage = shared.usage()?;
        let scale = Scale { taken: usage.segment_bytes, of: usage.stored_bytes };
        let scales: BTreeMap<SourceId, Scale> = shared.registry(|registry| {
            let of = |source: &SourceId| (*source, scale.kept(placement_of(registry, *source), usual));
            registry.sources.keys().map(of).collect()
        });
        let scale_of = |source: &SourceId| scales.get(source).copied().unwrap_or(scale);
        let measured = shared.sources_in_use()?;
        let certainty: BTreeMap<SourceId, Certainty> = shared.registry(|registry| {
            let of = |source: &SourceId| {
                let measures = measured.get(source).map_or(&[][..], |used| used.measures.as_slice());
                let scale = scale_of(source);
                let measures: Vec<Measure> = measures.iter().map(|growth| scale.measure(growth)).collect();
                (*source, Certainty::of(&measures, now.witnessed))
            };
            registry.sources.keys().map(of).collect()
        });
        let state = scaled(picture(shared, figures)?, scale, scale_of);
        let policies = policies?;
        let policies =
            policies.into_iter().map(|(source, policy)| (source, scale_of(&source).policy(policy))).collect();
        Ok(Self { state, rates: rates(&certainty), certainty, policies, bounds: bounds?, now })
    }

    pub(super) const fn outlook(&self, days: u32) -> Outlook<'_> {
        let Self { state, rates, policies, bounds, now, .. } = self;
        Outlook { state, rates, policies, bounds, now: *now, days }
    }
}

/// How much of a drive what was measured takes.
#[derive(Clone, Copy)]
struct Scale {
    taken: u64,
    of: u64,
}

impl Scale {
    fn bytes(self, bytes: u64) -> u64 {
        let scaled = u128::from(bytes) * u128::from(self.taken);
        scaled
            .checked_div(u128::from(self.of))
            .map_or(bytes, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// That of what is kept in another way than is usual.
    fn kept(self, asked: Option<Redundancy>, usual: Redundancy) -> Self {
        let Some(asked) = asked else { return self };
        let drives = |one: Redundancy| u64::from(one.data()) + u64::from(one.parity());
        Self {
            taken: self.taken.saturating_mul(drives(asked) * u64::from(usual.data())),
            of: self.of.saturating_mul(u64::from(asked.data()) * drives(usual)),
        }
    }

    fn measure(self, growth: &Growth) -> Measure {
        Measure {
            witnessed: Witnessed(Duration::from_nanos(growth.witnessed)),
            points: growth.points,
            born_bytes: self.bytes(growth.born_bytes),
            written_bytes: self.bytes(growth.written_bytes),
            removed_bytes: self.bytes(growth.removed_bytes),
        }
    }

    fn policy(self, policy: Policy) -> Policy {
        Policy { quota_bytes: policy.quota_bytes.map(|bytes| self.bytes(bytes)), ..policy }
    }

    fn source(self, its: &SourceState) -> SourceState {
        let mut points = its.points().to_vec();
        points.iter_mut().for_each(|point| point.own_bytes = point.own_bytes.map(|own| self.bytes(own)));
        SourceState::new(self.bytes(its.used_bytes), points)
    }
}

/// A pool whose sources take of the drives what their scales say, where `usual` is what the others have.
fn scaled(mut state: State, usual: Scale, scale_of: impl Fn(&SourceId) -> Scale) -> State {
    for (source, its) in &mut state.sources {
        let scale = scale_of(source);
        let (usually, really) = (usual.bytes(its.used_bytes), scale.bytes(its.used_bytes));
        for bytes in [&mut state.used_bytes, &mut state.drives_bytes] {
            *bytes = bytes.saturating_add(really).saturating_sub(usually);
        }
        *its = scale.source(its);
    }
    state
}

/// Says how long it lasts, and what admitting another source would cost.
pub(super) fn foretell(appliance: &Appliance, admit: Option<Admit>) -> Result<Kept, ArchiveError> {
    let (shared, figures) = (appliance.storage().shared(), appliance.figures());
    figures.measure_some(shared, RECENT_POINTS)?;
    let present = Present::of(shared, figures, appliance.rack().policy().into())?;
    let today = shared.clock().now();
    let outlook = present.outlook(HORIZON_DAYS);
    let prospect = prospect(&outlook, present.certainty.clone());
    let admission = admit.map(|Admit { size_bytes, new_bytes }| {
        let policy = Policy::default();
        let newcomer = Newcomer::expected(&outlook, NEWCOMER, size_bytes, new_bytes, policy);
        admission(&outlook, &newcomer)
    });
    let names = |source| match source {
        NEWCOMER => "The newcomer".to_owned(),
        source => shared.registry(|registry| name_of(registry, source)),
    };
    let mut lines = prospect.in_words(&names, today);
    lines.extend(admission.iter().flat_map(|admission| admission.in_words(&names, today)));
    let sources = prospect
        .certainty
        .iter()
        .filter_map(|(source, known)| source_forecast(shared, &prospect, *source, known));
    let on = |days: Option<u32>| days.map(|days| day_after(today, days));
    let drives =
        if present.rates.is_empty() { Vec::new() } else { full_drives(appliance, &present, &prospect) };
    lines.extend(
        drives
            .iter()
            .map(|(drive, full)| drive_in_words(&drive_name(drive), *full, prospect.forecast.days, today)),
    );
    let drives = drives.into_iter().map(|(drive, full)| DriveForecast {
        drive: drive.drive,
        place: drive.place,
        full: on(full),
    });
    let foretold = Foretold {
        sources: sources.collect(),
        full: on(prospect.forecast.full_in_days),
        full_earliest: on(prospect.full_between.0),
        full_latest: on(prospect.full_between.1),
        days: prospect.forecast.days,
        admission: admission.as_ref().map(admission_figures),
        drives: drives.collect(),
    };
    Ok(Kept::Forecast { lines, foretold })
}

/// The drives that take data, and in how many days each is full.
fn full_drives(
    appliance: &Appliance,
    present: &Present,
    prospect: &Prospect,
) -> Vec<(DriveRow, Option<u32>)> {
    let (policy, drives) = (appliance.rack().policy(), appliance.rack().takers());
    let spaces: Vec<Space> = drives.iter().map(|(_, space)| *space).collect();
    let used = present.state.expected_bytes();
    let permille = present.bounds.high.permille_of(present.state.drives_bytes);
    let full = drives::full_in_days(policy, &spaces, used, &prospect.forecast.most_by_day, permille);
    drives.into_iter().map(|(drive, _)| drive).zip(full).collect()
}

fn drive_name(drive: &DriveRow) -> String {
    let place = drive.place.as_deref().unwrap_or("an unknown place");
    match drive.drive.as_deref().and_then(|uuid| uuid.get(..8)) {
        Some(uuid) => format!("Drive {uuid} in {place}"),
        None => format!("The drive with {place}"),
    }
}

fn day_after(today: Time, days: u32) -> Time {
    today.after(DAY.saturating_mul(days))
}

fn source_forecast(
    shared: &Shared,
    prospect: &Prospect,
    source: SourceId,
    known: &Certainty,
) -> Option<SourceForecast> {
    let (machine, label) = shared.registry(|registry| {
        let found = registry.sources.get(&source)?;
        Some((registry.machines.get(&found.machine)?.label.clone(), found.label.clone()))
    })?;
    let reach = prospect.forecast.sources.get(&source).copied().unwrap_or_default();
    let mut forecast = SourceForecast {
        machine,
        source: label,
        points: reach.points,
        used_bytes: reach.used_bytes,
        oldest_seconds: reach.oldest.as_secs(),
        daily_seconds: reach.daily.as_secs(),
        new_bytes_per_day: None,
        measured_seconds: 0,
        measured_points: 0,
        margin: None,
        known_in_seconds: None,
    };
    match known {
        Certainty::Measured { rates, span, points, margin } => {
            forecast.new_bytes_per_day = Some(rates.new_bytes_per_day);
            forecast.measured_seconds = span.as_secs();
            forecast.measured_points = *points;
            forecast.margin = Some(*margin);
        }
        Certainty::Unknown { points, wait } => {
            forecast.measured_points = *points;
            forecast.known_in_seconds = Some(wait.as_secs());
        }
    }
    Some(forecast)
}

fn admission_figures(admission: &Admission) -> AdmissionFigures {
    AdmissionFigures {
        fits: admission.fits(),
        floor_bytes: admission.floor_bytes,
        others_bytes: admission.others_bytes,
        room_bytes: admission.room_bytes,
        lacking_bytes: admission.lacking_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder};
    use model::item::{Extent, Item, ItemKey};
    use model::record::{Label, Source, Totals};
    use model::{ObjectId, SequenceNumber};
    use pool::{Counted, NewPoint, Pool};
    use tree::{ItemTree, Root};

    use super::*;
    use crate::data::DataDirectory;
    use crate::storage::Storage;

    /// Bytes that a point holds besides those of the one before it.
    const NEW_BYTES: u32 = 1 << 20;

    /// Adds a file of noise to a tree.
    fn grow(pool: &mut Pool, source: &Source, root: &Root, number: u64) -> Root {
        let mut content = vec![0; NEW_BYTES as usize];
        medium::sim::Random::new(number).fill(&mut content);
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        let domain = pool.shared().registry(|registry| registry.machines[&source.machine].domain);
        let name = builder.push(&pool.shared().keys().naming(domain), &content).unwrap();
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        let bundle = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap();
        pool.put_bundle(&pool.shared().begin_session(), source.machine, source.id, bundle).unwrap();
        let extent = Item::Extent(Extent::Chunk { name, skip: 0, length: NEW_BYTES });
        let item = (ItemKey::extent(ObjectId(ObjectId::ROOT.0 + number), 0), Some(extent));
        ItemTree::default().apply(pool, root, std::iter::once(item)).unwrap().root
    }

    /// What is told of a pool with points that were made on these days of its life, each of which has a file more than the one
    /// before.
    fn foretold(days: &[u64], bounds: &str) -> (Vec<String>, Foretold, u64) {
        let folder = tempfile::tempdir().unwrap();
        let opened = DataDirectory::new(folder.path()).open_or_create().unwrap();
        let mut pool = opened.pool;
        let machine = pool.add_machine(&Label::new("web1").unwrap(), false).unwrap();
        let source = pool.add_source(machine.id, &Label::new("files").unwrap()).unwrap();
        let bounds = PoolBounds::parse(bounds).unwrap().encode();
        pool.set_setting(settings::BOUNDS, Some(bounds)).unwrap();
        let mut root = Root::EMPTY;
        for day in days {
            pool.shared().set_witnessed(day * u64::try_from(DAY.as_nanos()).unwrap());
            root = grow(&mut pool, &source, &root, *day);
            pool.commit_point(NewPoint {
                source: source.id,
                sequence: SequenceNumber(*day),
                started: Time(1),
                finished: Time(1),
                root,
                totals: Totals::default(),
                exceptions: Vec::new(),
                exceptions_count: 0,
            })
            .unwrap();
            while pool.count(100).unwrap() == Counted::More {}
        }
        pool.flush_catalog().unwrap();
        let storage = Storage::start(pool, None).unwrap();
        let used = storage.shared().usage().unwrap().segment_bytes;
        let appliance = Appliance::new(storage, Arc::new(opened.rack), Arc::default(), Arc::default());
        match foretell(&appliance, None).unwrap() {
            Kept::Forecast { lines, foretold } => (lines, foretold, used),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_is_kept_on_more_drives_takes_more_of_them() {
        let usual = Redundancy::new(1, 1).unwrap();
        let half = Scale { taken: 50, of: 100 };
        for (data, parity, bytes) in [(1, 0, 250), (1, 1, 500), (1, 3, 1_000), (4, 2, 375)] {
            assert_eq!(
                half.kept(Redundancy::new(data, parity), usual).bytes(1_000),
                bytes,
                "{data}+{parity}"
            );
        }
        let (files, ledger) = (SourceId(1), SourceId(2));
        let sources = [files, ledger].map(|source| (source, SourceState::new(1_000, Vec::new())));
        let state = State {
            sources: sources.into_iter().collect(),
            used_bytes: 1_200,
            reclaimable_bytes: 0,
            drives_bytes: 9_000,
        };
        let thrice = half.kept(Redundancy::new(1, 2), Redundancy::ONE);
        let scaled = scaled(state, half, |source| if *source == ledger { thrice } else { half });
        let used = scaled.sources.values().map(|source| source.used_bytes);
        assert_eq!(used.collect::<Vec<_>>(), [500, 1_500]);
        assert_eq!((scaled.used_bytes, scaled.drives_bytes), (2_200, 10_000));
    }

    #[test]
    fn drives_are_foretold_once_something_was_measured() {
        assert_eq!(foretold(&[1], "").1.drives, []);
        let (lines, foretold, _) = foretold(&[1, 3, 5], "");
        let [drive] = foretold.drives.as_slice() else { panic!("{:?}", foretold.drives) };
        assert!(
            drive.drive.is_none() && drive.place.as_deref().is_some_and(|place| place.ends_with("/pool"))
        );
        let last = lines.last().unwrap();
        assert!(
            last.starts_with("The drive with /") && last.contains(" is full") == drive.full.is_some(),
            "{last}"
        );
    }

    #[test]
    fn what_a_source_brings_and_when_the_pool_is_full_is_told_as_it_was_measured() {
        let days: Vec<u64> = (1..=12).collect();
        let (lines, foretold, used) = foretold(&days, "capacity=40MiB high=90%");
        let [files] = foretold.sources.as_slice() else { panic!("{:?}", foretold.sources) };
        let is_near = |told: u64, found: u64| told.abs_diff(found) * 100 <= found * 15;
        assert!(is_near(files.new_bytes_per_day.unwrap(), NEW_BYTES.into()), "{files:?}");
        assert!(files.measured_points >= 10 && files.measured_seconds >= 10 * DAY.as_secs(), "{files:?}");
        // A pool that grows by a file a day is full when there is no room for another one below the mark.
        let expected = (40 * 9 / 10 * u64::from(NEW_BYTES) - used) / u64::from(NEW_BYTES);
        let nanos = foretold.full.unwrap().0 - medium::Clock::now(&host::HostClock).0;
        let told = u64::try_from(nanos).unwrap() / u64::try_from(DAY.as_nanos()).unwrap();
        assert!(told.abs_diff(expected) <= 2, "{told} days, not {expected}: {lines:?}");
        assert!(
            files.points == 3 && files.used_bytes < 40 << 20,
            "all but the floor goes for room: {files:?}"
        );
        let [drive] = foretold.drives.as_slice() else { panic!("{:?}", foretold.drives) };
        assert_eq!(drive.full, None, "the pool stays within its capacity");
    }
}
