//! What the operator asks for about the drives.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use drives::{DriveSet, DriveUuid, DrivesError, MemberState, MemberStatus, Policy, PoolUuid};
use hardware::{Content, HardwareError, Kind, Mounted};
use host::HostEntropy;
use medium::{Disk, Redundancy, Space};
use model::ErrorKind;
use model::SourceId;
use model::archive::ArchiveError;
use pool::placement_of;
use tracing::info;
use wire::drive::{DriveAnswer, DriveOrder, DriveRow, Newcomer, Placement};

use super::admitting::{drive_in, is_device};
use super::places::{Place, Places};
use super::{Known, Rack, drive_of, hardware, locked, open_directory, world};
use crate::appliance::Appliance;
use crate::storage::Storage;

/// How what is stored is kept if nobody says.
const POLICY: Policy = Policy::Copies(2);
/// Most sources that an answer lists.
const PLACEMENTS_MAX: usize = 1_000;
/// Most segments without a copy that an answer lists.
const LOST_MAX: usize = 10_000;

/// Does what is ordered.
pub(crate) fn answer(appliance: &Appliance, order: DriveOrder) -> Result<DriveAnswer, ArchiveError> {
    let (rack, storage) = (appliance.rack(), appliance.storage());
    let _order = (order != DriveOrder::List).then(|| locked(&rack.orders));
    let done = match order {
        DriveOrder::List => {
            return Ok(rack.list(placements(storage), !storage.shared().is_placed().unwrap_or(false)));
        }
        DriveOrder::Plan { newcomer } => {
            let plan = rack.plan_disk(Path::new(&newcomer.path), newcomer.force).map_err(told)?;
            let what = plan.confirmation.what().to_owned();
            return Ok(DriveAnswer::Plan { text: plan.to_string(), what });
        }
        DriveOrder::Add { newcomer, policy } => rack.add(storage, &newcomer, policy.as_deref()),
        DriveOrder::Retire { drive } => rack.retire(&drive),
        DriveOrder::Replace { drive, newcomer } => rack.replace(storage, &drive, &newcomer),
        DriveOrder::Rejoin { path } => rack.rejoin(Path::new(&path)),
        DriveOrder::SetPolicy { policy } => rack.set_policy(&policy),
        DriveOrder::SetPlacement { machine, source, policy } => {
            let found = appliance.source_named(&machine, &source)?;
            let placed = rack.set_placement(storage, found, policy.as_deref());
            placed.map(|kept| format!("what {machine}/{source} has is kept {kept} from here on"))
        }
    };
    Ok(DriveAnswer::Done { sentence: done.map_err(told)? })
}

/// What went wrong, with what the caller can do about it.
fn told(error: anyhow::Error) -> ArchiveError {
    let of_hardware = |error: &HardwareError| match error.kind() {
        Kind::Corrupt => ErrorKind::Corrupt,
        Kind::Missing => ErrorKind::Missing,
        Kind::Busy => ErrorKind::Busy,
        Kind::Refused => ErrorKind::Refused,
        Kind::Unsupported => ErrorKind::Unsupported,
        Kind::Io => ErrorKind::Io,
    };
    let kind = error.downcast_ref::<DrivesError>().map(DrivesError::kind);
    let kind = kind.or_else(|| error.downcast_ref::<ArchiveError>().map(|error| error.kind));
    let kind = kind.or_else(|| error.downcast_ref::<HardwareError>().map(of_hardware));
    ArchiveError { kind: kind.unwrap_or(ErrorKind::Refused), message: format!("{error:#}") }
}

/// Reads `copies=2` or `parity=4+2`.
fn parse_policy(text: &str) -> anyhow::Result<Policy> {
    let parsed = match text.split_once('=') {
        Some(("copies", copies)) => copies.parse().ok().map(Policy::Copies),
        Some(("parity", parts)) => parts.split_once('+').and_then(|(data, parity)| {
            Some(Policy::Parity { data: data.parse().ok()?, parity: parity.parse().ok()? })
        }),
        _ => None,
    };
    let policy = parsed.with_context(|| format!("{text:?} is no policy; write copies=2, or parity=4+2"))?;
    Ok(policy.check()?)
}

fn policy_text(policy: Policy) -> String {
    match policy {
        Policy::Copies(copies) => format!("copies={copies}"),
        Policy::Parity { data, parity } => format!("parity={data}+{parity}"),
    }
}

const fn word(state: MemberState) -> &'static str {
    match state {
        MemberState::InService => "in service",
        MemberState::Out => "out",
        MemberState::Retiring => "retiring",
        MemberState::Retired => "retired",
    }
}

impl Rack {
    fn several(&self) -> anyhow::Result<Arc<DriveSet>> {
        self.set().context("the pool lies in one directory; `keepfast drive add` gives it a second drive")
    }

    /// The drive that is meant by the beginning of its UUID.
    fn find(&self, set: &DriveSet, text: &str) -> anyhow::Result<DriveUuid> {
        let digits = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let wanted = digits(text);
        let members = set.members().into_iter().map(|member| member.drive);
        let found: Vec<_> = members.filter(|drive| digits(&drive.to_string()).starts_with(&wanted)).collect();
        match found.as_slice() {
            [drive] if !wanted.is_empty() => Ok(*drive),
            [] => bail!("no drive has a UUID that begins with {text:?}; `keepfast drive list` has them"),
            _ => bail!("{} drives have a UUID that begins with {text:?}; write more of it", found.len()),
        }
    }

    fn add(&self, storage: &Storage, newcomer: &Newcomer, policy: Option<&str>) -> anyhow::Result<String> {
        let policy = policy.map(parse_policy).transpose()?;
        if let (Some(set), Some(policy)) = (self.set(), policy)
            && set.policy() != policy
        {
            let (kept, wanted) = (policy_text(set.policy()), policy_text(policy));
            bail!("the pool is kept with {kept}; `keepfast drive policy {wanted}` changes that");
        }
        let admitted = self.admit(newcomer)?;
        let place = admitted.place.clone();
        match self.take(storage, &place, policy.unwrap_or(POLICY)) {
            Ok(sentence) => Ok(sentence),
            Err(error) => {
                admitted.undo();
                Err(error)
            }
        }
    }

    /// Takes a place that is ready into service.
    fn take(&self, storage: &Storage, place: &Place, policy: Policy) -> anyhow::Result<String> {
        let disk = open_directory(&place.directory)?;
        let set = match self.set() {
            Some(set) => set,
            None => self.begin(storage, policy)?,
        };
        // First where, then who: a drive of which nobody knows where it is would count as missing.
        self.change_places(|places| places.all.push(place.clone()))?;
        let is_it = |other: &Place| other.directory == place.directory;
        let drive = set.add(disk).inspect_err(|_| {
            let forgotten = self.change_places(|places| places.all.retain(|other| !is_it(other)));
            forgotten.unwrap_or_else(|cause| info!("a place is not forgotten: {cause:#}"));
        })?;
        self.change_places(|places| {
            let found = places.all.iter_mut().find(|other| is_it(other));
            found.into_iter().for_each(|found| found.drive = Some(drive));
        })?;
        let (at, policy) = (place.directory.display(), policy_text(set.policy()));
        info!(%drive, %at, policy, "a drive was added");
        Ok(format!("drive {drive} is in service at {at}; the pool is kept with {policy}"))
    }

    /// Makes the directory of the pool the first drive of a set, between two changes of the pool.
    fn begin(&self, storage: &Storage, policy: Policy) -> anyhow::Result<Arc<DriveSet>> {
        let disk = self.disk.directory().context("the pool has several drives already")?;
        let directory = self.data.join(super::DRIVE);
        let directory = directory.canonicalize().with_context(|| format!("find {}", directory.display()))?;
        let (pool, drive) = (PoolUuid(*storage.shared().pool()), DriveUuid::draw(&HostEntropy));
        let switch = Arc::clone(&self.disk);
        let adopted = storage.change(move |pool_writer| {
            pool_writer.commit(Vec::new())?;
            pool_writer.flush_catalog()?;
            let set = DriveSet::adopt(disk, drive, pool, policy, world());
            let set = Arc::new(set.map_err(|error| told(error.into()))?);
            switch.turn(Arc::clone(&set));
            pool_writer.reopen()?;
            Ok::<_, ArchiveError>(set)
        });
        let set = adopted?;
        let places = Places { pool, all: vec![Place { directory, disk: None, drive: Some(drive) }] };
        places.save(&self.data.join("drives.toml"))?;
        self.known().places = Some(places);
        Ok(set)
    }

    fn retire(&self, text: &str) -> anyhow::Result<String> {
        let set = self.several()?;
        let drive = self.find(&set, text)?;
        set.retire(drive)?;
        let state = set.members().into_iter().find(|member| member.drive == drive).map(|member| member.state);
        if state == Some(MemberState::Retired) {
            self.release(drive)?;
            return Ok(format!("drive {drive} is retired"));
        }
        let mut told = format!(
            "what drive {drive} holds is moved to the others while the appliance runs; it is let go of then, and \
             `keepfast drive list` says so"
        );
        let (needed, there) = (set.drives_needed(), set.drives_in_service());
        if there < needed {
            let _ = write!(
                told,
                "; {there} are left in service and {needed} are needed to keep everything as is wanted, so it stays \
                 until `keepfast drive add` takes another one in, or `keepfast drive policy` wants less"
            );
        }
        Ok(told)
    }

    fn replace(&self, storage: &Storage, text: &str, newcomer: &Newcomer) -> anyhow::Result<String> {
        let set = self.several()?;
        let drive = self.find(&set, text)?;
        let added = self.add(storage, newcomer, None)?;
        Ok(format!("{added}; {}", self.retire(&drive.to_string())?))
    }

    fn set_policy(&self, text: &str) -> anyhow::Result<String> {
        let policy = parse_policy(text)?;
        self.several()?.set_policy(policy)?;
        Ok(format!("the pool is kept with {} from here on", policy_text(policy)))
    }

    /// Keeps what a source has another way than the rest, or the same way again; which one, in words.
    fn set_placement(
        &self,
        storage: &Storage,
        source: SourceId,
        policy: Option<&str>,
    ) -> anyhow::Result<String> {
        let policy = policy.map(parse_policy).transpose()?;
        if let Some(policy) = policy {
            let there = self.several()?.drives_in_service();
            if there < policy.drives() {
                let (wanted, drives) = (policy_text(policy), policy.drives());
                bail!(
                    "{wanted} takes {drives} drives and {there} are in service; `keepfast drive add` takes another one in"
                );
            }
        }
        storage.change(move |pool| pool.set_placement(source, policy.map(Redundancy::from)))?;
        Ok(policy.map_or_else(|| "as the pool is".into(), |policy| format!("with {}", policy_text(policy))))
    }

    /// Takes a drive back. One on a whole disk is mounted anew; one in a directory has been, by its operator.
    fn rejoin(&self, path: &Path) -> anyhow::Result<String> {
        let set = self.several()?;
        let (directory, disk) = if is_device(path) {
            let (directory, disk) = self.mount_again(path)?;
            (directory, Some(disk))
        } else {
            (path.to_owned(), None)
        };
        let directory = drive_in(&directory)?;
        let known = |known: &Known| {
            let places = known.places.iter().flat_map(|places| &places.all);
            places.clone().find(|place| place.directory == directory).and_then(|place| place.disk)
        };
        let disk = disk.or_else(|| known(&self.known()));
        let joined = set.rejoin(open_directory(&directory)?);
        let drive = joined.inspect_err(|error| {
            let (drive, reason) = (drive_of(error), error.to_string());
            let mut known = self.known();
            known.objections.retain(|objection| objection.directory != directory);
            known.objections.push(super::Objection { directory: directory.clone(), drive, reason });
        })?;
        self.change_places(|places| {
            places.all.retain(|place| place.drive != Some(drive) && place.directory != directory);
            places.all.push(Place { directory: directory.clone(), disk, drive: Some(drive) });
        })?;
        self.known().objections.retain(|one| one.drive != Some(drive) && one.directory != directory);
        info!(%drive, at = %directory.display(), "a drive came back");
        Ok(format!("drive {drive} is in service again; what it holds is compared with the others first"))
    }

    /// Mounts the drive on a disk anew; where.
    fn mount_again(&self, path: &Path) -> anyhow::Result<(PathBuf, hardware::DriveId)> {
        let inspection = hardware().inspect(path)?;
        let Content::Drive { drive, device } = inspection.content else {
            bail!("{} holds no drive of a pool", path.display());
        };
        let directory = self.mounts().join(drive.label());
        let directory = directory.canonicalize().unwrap_or(directory);
        if inspection.mounted.contains(&directory) {
            let mounted = Mounted { drive, device, directory };
            let unmounted = hardware().unmount(&mounted);
            unmounted.context("it is in use still; restart the appliance, then rejoin it")?;
        }
        match hardware().mount_known(&[drive], &self.mounts()).pop() {
            Some(hardware::Known::Mounted(mounted)) => Ok((mounted.directory, drive)),
            Some(hardware::Known::Failed(_, error)) => Err(error.into()),
            _ => bail!("{} has gone", path.display()),
        }
    }

    /// How everything is kept for which nobody asks for something else.
    pub(crate) fn policy(&self) -> Policy {
        self.set().map_or(Policy::Copies(1), |set| set.policy())
    }

    /// The drives that new data goes to, and their room.
    pub(crate) fn takers(&self) -> Vec<(DriveRow, Space)> {
        let Some(set) = self.set() else {
            let space = self.disk.space().ok();
            return space.map(|space| (self.only_row(Some(space)), space)).into_iter().collect();
        };
        let (known, members) = (self.known(), set.members());
        let taking = members.iter().filter(|member| member.state == MemberState::InService);
        taking.filter_map(|member| Some((known.row(member), member.space?))).collect()
    }

    /// The row of the one folder that the pool lies in.
    fn only_row(&self, space: Option<Space>) -> DriveRow {
        DriveRow {
            place: Some(self.data.join(super::DRIVE).display().to_string()),
            state: word(MemberState::InService).to_owned(),
            capacity_bytes: space.map(|space| space.capacity_bytes),
            free_bytes: space.map(|space| space.available_bytes),
            ..DriveRow::default()
        }
    }

    fn list(&self, placements: Vec<Placement>, is_searching: bool) -> DriveAnswer {
        let Some(set) = self.set() else {
            let row = self.only_row(self.disk.space().ok());
            let (policy, lost) = (policy_text(self.policy()), Vec::new());
            let drives = vec![row];
            return DriveAnswer::Drives {
                policy,
                drives,
                at_risk: 0,
                lost,
                lost_count: 0,
                placements,
                is_searching,
            };
        };
        let known = self.known();
        let members = set.members();
        let mut drives: Vec<DriveRow> = members.iter().map(|member| known.row(member)).collect();
        for objection in &known.objections {
            let is_told = |member: &MemberStatus| {
                let place = known.places.as_ref().and_then(|places| places.of(member.drive));
                let is_here = place.is_some_and(|place| place.directory == objection.directory);
                is_here && member.state == MemberState::Out
            };
            if !members.iter().any(is_told) {
                drives.push(DriveRow {
                    drive: objection.drive.map(|drive| drive.to_string()),
                    place: Some(objection.directory.display().to_string()),
                    state: "refused".into(),
                    reason: Some(objection.reason.clone()),
                    ..DriveRow::default()
                });
            }
        }
        let at_risk = set.at_risk();
        let gone = || at_risk.iter().filter(|one| one.copies == 0 || !one.lost.is_empty());
        let lost = gone().take(LOST_MAX).map(|one| one.path.clone()).collect();
        let (at_risk_count, lost_count) = (at_risk.len() as u64, gone().count() as u64);
        DriveAnswer::Drives {
            policy: policy_text(set.policy()),
            drives,
            at_risk: at_risk_count,
            lost,
            lost_count,
            placements,
            is_searching,
        }
    }
}

/// Sources that ask for what they have to be kept another way than the rest.
fn placements(storage: &Storage) -> Vec<Placement> {
    storage.shared().registry(|registry| {
        let asks = registry.sources.values().filter_map(|source| {
            let policy = policy_text(placement_of(registry, source.id)?.into());
            let machine = registry.machines.get(&source.machine)?.label.clone();
            Some(Placement { machine, source: source.label.clone(), policy })
        });
        asks.take(PLACEMENTS_MAX).collect()
    })
}

impl Known {
    /// A drive of the set.
    fn row(&self, member: &MemberStatus) -> DriveRow {
        let place = self.places.as_ref().and_then(|places| places.of(member.drive));
        let is_here = |directory: &Path| place.is_some_and(|place| place.directory == directory);
        let objection = self.objections.iter().find(|objection| is_here(&objection.directory));
        let is_out = member.state == MemberState::Out;
        let reason = objection.map(|objection| objection.reason.clone()).filter(|_| is_out);
        let failed = "it failed, or was not there; connect and mount it anew, then `keepfast drive rejoin` takes it back";
        DriveRow {
            drive: Some(member.drive.to_string()),
            place: place.map(|place| place.directory.display().to_string()),
            state: word(member.state).to_owned(),
            reason: reason.or_else(|| is_out.then(|| failed.to_owned())),
            capacity_bytes: member.space.map(|space| space.capacity_bytes),
            free_bytes: member.space.map(|space| space.available_bytes),
            segments: member.segments as u64,
            segments_at_risk: member.segments_at_risk as u64,
            read_errors: member.errors.reads,
            write_errors: member.errors.writes,
            mended: member.errors.mended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_they_are_read() {
        for text in ["copies=1", "copies=2", "parity=4+2"] {
            assert_eq!(policy_text(parse_policy(text).unwrap()), text);
        }
        for text in
            ["", "copies", "copies=", "copies=0", "copies=-1", "parity=4", "parity=4+0", "parity=40+2", "2"]
        {
            assert!(parse_policy(text).is_err(), "{text}");
        }
    }
}
