//! Damage in one copy of a segment: the scrub mends it from another one, and it is no damage of points.

use std::ops::Range;
use std::sync::Arc;

use drives::{DriveSet, Policy, PoolUuid};
use medium::sim::{SimClock, SimDisk, SimEntropy};
use medium::{Access, Disk, Poisoning};
use model::Time;
use pool::segment::FOOTER_TAIL_LENGTH;
use pool::{Options, Pool, ScrubEffort, World};

use crate::drive::{BadSectors, CHUNKS, DATA, IN_PAYLOAD, META, frames_of, segments};
use crate::scrub::places;
use crate::world::{Home, key, lazy, options, read_points};

const TWO: Policy = Policy::Copies(2);
const PARITY: Policy = Policy::Parity { data: 2, parity: 1 };

fn world(set: &Arc<DriveSet>, seed: u64) -> World {
    let disk: Arc<dyn Disk> = set.clone();
    let clock = Arc::new(SimClock::new(Time(1_700_000_000_000_000_000)));
    World { disk, clock, entropy: Arc::new(SimEntropy::new(seed)) }
}

/// A pool over several drives.
struct Rig {
    disks: Vec<SimDisk>,
    pool: Pool,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // What no drive gives any more is said instead.
        if !std::thread::panicking()
            && let Ok(audit) = self.pool.audit()
        {
            assert_eq!(audit.wrong, Vec::<String>::new(), "at the end of the test");
        }
    }
}

impl Rig {
    /// With points 1 to 12, all segments of which are sealed or let go of, and where the policy wants them.
    fn new(policy: Policy, drives: u64) -> Self {
        Self::with(policy, drives, options(), |disk| Arc::new(disk.clone()))
    }

    /// The same, where the first drive is handed over in another way once all is written.
    fn with(policy: Policy, drives: u64, options: Options, hand: impl Fn(&SimDisk) -> Arc<dyn Disk>) -> Self {
        let disks: Vec<SimDisk> = (0..drives).map(SimDisk::new).collect();
        let handed: Vec<Arc<dyn Disk>> =
            disks.iter().map(|disk| Arc::new(Poisoning::new(Arc::new(disk.clone()))) as _).collect();
        let around = |seed| drives::World {
            clock: Arc::new(SimClock::new(Time(1))),
            entropy: Arc::new(SimEntropy::new(seed)),
        };
        let set = Arc::new(DriveSet::create(&handed, PoolUuid([7; 16]), policy, around(1)).unwrap());
        let mut pool = Pool::create(world(&set, 1), &[key()], options.clone()).unwrap();
        Home::add(&mut pool).add_points(&mut pool, 1..=12);
        pool.flush_catalog().unwrap();
        drop(pool);
        while set.step(1 << 20, &|_| true).unwrap().task.is_some() {}
        assert_eq!(set.at_risk(), []);
        drop(set);
        let handed: Vec<Arc<dyn Disk>> = std::iter::once(hand(&disks[0]))
            .chain(disks[1..].iter().map(|disk| Arc::new(disk.clone()) as _))
            .collect();
        let set = Arc::new(DriveSet::open(&handed, None, around(2)).unwrap().set);
        let pool = Pool::open(world(&set, 2), &key(), options).unwrap();
        Self { disks, pool }
    }

    /// A round of the scrub: what it found, how much it mended, and how much it could not mend.
    fn round(&self) -> (Vec<String>, u64, u64) {
        let (mut damage, mut mended, mut unmended) = (Vec::new(), 0, 0);
        loop {
            let step = self.pool.shared().scrub(ScrubEffort { bytes: 4096, entries: 7 }).unwrap();
            damage.extend(step.damage);
            (mended, unmended) = (mended + step.mended, unmended + step.unmended);
            if step.is_done {
                return (damage, mended, unmended);
            }
        }
    }

    /// Nothing is known to be damaged, and there is nothing to note.
    fn assert_whole(&mut self, context: &str) {
        let status = self.pool.shared().scrub_status();
        assert_eq!((status.damaged, status.damaged_points), (0, 0), "{context}");
        assert!(!self.pool.note_damage().unwrap(), "{context}");
    }

    /// The drive with a copy of a segment, from the `n`th on.
    fn holder(&self, path: &str, n: usize) -> &SimDisk {
        let all = self.disks.iter().cycle().skip(n).take(self.disks.len());
        all.into_iter().find(|disk| disk.files().contains_key(path)).unwrap()
    }

    fn bytes(&self, disk: usize, path: &str) -> Vec<u8> {
        self.disks[disk].files().remove(path).unwrap()
    }

    /// A segment with chunks and its first frame with some, on the first drive.
    fn first_chunks(&self) -> (String, u64) {
        let (path, bytes) = segments(&self.disks[0], DATA).remove(0);
        (path, frames_of(&bytes, CHUNKS)[0])
    }
}

/// Flips bits all over the segments of a kind, one after the other, in one copy each.
fn flip_all_over(rig: &mut Rig, kind: u8) -> u64 {
    let sealed = |bytes: &[u8]| bytes[bytes.len() - FOOTER_TAIL_LENGTH..].starts_with(b"KFfooter");
    let all = segments(&rig.disks[0], kind);
    let (sealed, open): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, bytes)| sealed(bytes));
    let mut count = 0;
    for (path, bytes) in sealed.first().into_iter().chain(open.first()) {
        for (n, at) in places(bytes).into_iter().enumerate() {
            let disk = rig.holder(path, n).clone();
            disk.flip(path, at * 8 + at % 8).unwrap();
            let context = format!("byte {at} of {path}");
            assert_eq!(rig.round(), (Vec::new(), 1, 0), "{context}");
            assert!(disk.files()[path] == *bytes, "{context} is mended");
            rig.assert_whole(&context);
            count += 1;
            assert_eq!(rig.pool.shared().scrub_status().mended, count, "since the pool was opened");
        }
    }
    assert_eq!(rig.round(), (Vec::new(), 0, 0), "nothing is left to mend");
    assert_eq!(read_points(&rig.pool).len(), 12);
    count
}

#[test]
fn every_flip_in_one_copy_is_mended_from_the_other() {
    for kind in [DATA, META] {
        let count = flip_all_over(&mut Rig::new(TWO, 2), kind);
        assert!(count > 40, "{count}");
    }
}

#[test]
fn every_flip_in_a_shard_is_mended_through_parity() {
    for kind in [DATA, META] {
        let mut rig = Rig::new(PARITY, 3);
        let path = segments(&rig.disks[0], kind).remove(0).0;
        let copies = rig.disks.iter().filter(|disk| disk.files().contains_key(&path)).count();
        assert_eq!(copies, 1, "{path} is under parity");
        let count = flip_all_over(&mut rig, kind);
        assert!(count > 15, "{count}");
    }
}

#[test]
fn what_no_copy_gives_is_damage_until_one_gives_it_again() {
    let mut rig = Rig::new(TWO, 2);
    let (path, at) = rig.first_chunks();
    let whole = rig.bytes(0, &path);
    for (disk, place) in rig.disks.iter().zip([IN_PAYLOAD, IN_PAYLOAD + 9]) {
        disk.flip(&path, (at + place) * 8).unwrap();
    }
    let (found, mended, _) = rig.round();
    assert!(found.len() > 1 && mended == 0, "{found:?}");
    let status = rig.pool.shared().scrub_status();
    assert_eq!(status.damaged, 1);
    assert!(status.damaged_points > 0 && rig.pool.note_damage().unwrap());
    let start = usize::try_from(at).unwrap();
    rig.disks[1].overwrite(&path, at, &whole[start..start + 200]).unwrap();
    assert_eq!(rig.round(), (Vec::new(), 1, 0));
    assert!(rig.pool.note_damage().unwrap(), "the notes go");
    rig.assert_whole("mended");
    assert!((0..2).all(|disk| rig.bytes(disk, &path) == whole));
}

#[test]
fn a_place_that_cannot_be_read_in_one_copy_is_written_anew() {
    let (path, at) = Rig::new(TWO, 2).first_chunks();
    let bad: Range<u64> = at + 80..at + 81;
    for heals in [true, false] {
        let sectors = |disk: &SimDisk| -> Arc<dyn Disk> {
            let sectors = BadSectors::new(disk, &path, bad.clone());
            Arc::new(if heals { sectors.healing() } else { sectors })
        };
        let mut rig = Rig::with(TWO, 2, options(), sectors);
        let expected = (u64::from(heals), u64::from(!heals));
        let (found, mended, unmended) = rig.round();
        assert_eq!((found, (mended, unmended)), (Vec::new(), expected));
        rig.assert_whole("the other copy gives it");
        assert_eq!(rig.round(), (Vec::new(), 0, u64::from(!heals)));
        assert_eq!(read_points(&rig.pool).len(), 12);
        let examined = rig.pool.shared().verify(None).unwrap();
        assert_eq!(examined.damage, Vec::<String>::new());
    }
}

#[test]
fn a_copy_that_is_cut_off_is_made_whole() {
    for drive in [0, 1] {
        let mut rig = Rig::with(TWO, 2, lazy(), |disk| Arc::new(disk.clone()));
        let (path, at) = rig.first_chunks();
        let whole = rig.bytes(drive, &path);
        rig.disks[drive].open(&path, Access::ReadWrite).unwrap().set_length(at + 5).unwrap();
        let (found, mended, unmended) = rig.round();
        assert!(mended > 0 && unmended == 0, "{mended} {found:?}");
        assert_eq!(found, Vec::<String>::new());
        rig.assert_whole("cut off");
        assert!(rig.bytes(drive, &path) == whole, "drive {drive}");
    }
}

#[test]
fn a_header_that_only_the_footer_has_is_put_back_in_all_copies() {
    let mut rig = Rig::new(TWO, 2);
    let path = segments(&rig.disks[0], DATA).remove(0).0;
    let whole = rig.bytes(0, &path);
    rig.disks.iter().for_each(|disk| disk.flip(&path, 60 * 8).unwrap());
    assert_eq!(rig.round(), (Vec::new(), 2, 0));
    rig.assert_whole("the header");
    assert!((0..2).all(|disk| rig.bytes(disk, &path) == whole));
}
