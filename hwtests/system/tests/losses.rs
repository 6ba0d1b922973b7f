//! Every one of six drives is lost in the middle of everything that an appliance does, one at a time with two copies
//! and two at a time under parity: nothing else is. Needs root and loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use system::{DRIVE_BYTES, Filesystem, Fleet, History, LoopDisk, Running, expect, noise, row_at, text};

/// What goes on when a drive is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Idle,
    Backup,
    Restore,
    Fold,
    Compaction,
    Verification,
    /// Another drive comes back.
    Return,
    /// The appliance is stopped, and starts without them.
    Restart,
    /// Another drive is added.
    Addition,
    /// What another lost drive held is made anew.
    Rebuild,
    /// What another drive holds, which is replaced, is made anew.
    Replacement,
    /// Another drive is emptied.
    Retirement,
}

use Moment::*;

/// All of them, in the order in which they come.
const MOMENTS: [Moment; 12] = [
    Idle,
    Backup,
    Restore,
    Fold,
    Compaction,
    Verification,
    Return,
    Restart,
    Addition,
    Rebuild,
    Replacement,
    Retirement,
];

/// A moment in which drives are lost, longer than most calls and shorter than most backups take.
const HALF: Duration = Duration::from_millis(120);
/// How often something is begun until it is still under way when drives are to be pulled, each time sooner after it began.
const TRIES: u32 = 6;
const FOLDED: &str = "a point was folded";
const GIVEN_BACK: &str = "room was given back";
/// How long the appliance may take to say something.
const SAID_MAX: Duration = Duration::from_secs(300);
const OUT: &str = "a drive is out of service";
const HEALED: &str = "every segment has all its copies again";
const LET_GO: &str = "a drive holds nothing of the pool any more and is let go of";

/// A fleet with a source whose points are compared, and one of which only the newest point is kept, so that points
/// fold and segments are compacted.
struct Scene {
    fleet: Fleet,
    history: History,
    folding: PathBuf,
    round: u64,
    /// With one drive less, everything can still have all its copies.
    is_spare: bool,
}

impl Scene {
    fn begin(drives: usize, policy: &[&str], seed: u64) -> Self {
        let fleet = Fleet::start(drives, policy).unwrap();
        let history = History::begin(&fleet.site, seed).unwrap();
        let folding = fleet.site.path("other");
        fs::create_dir(&folding).unwrap();
        expect(&mut fleet.site.agent(&["source", "add", "other", text(&folding)]).unwrap(), 0).unwrap();
        Self { fleet, history, folding, round: 0, is_spare: policy.contains(&"--copies") }
    }

    /// Makes two points in segments of their own that have a quarter of the files in common, and says that the first may go.
    fn fold(&mut self) -> Running {
        assert!(self.keep("last=1000").wait().unwrap().success());
        for files in [4, 3] {
            self.round += 1;
            for file in 0..files {
                let bytes = noise(self.round * 10 + file, 700_000);
                fs::write(self.folding.join(file.to_string()), bytes).unwrap();
            }
            self.fleet.restart().unwrap();
            expect(&mut self.fleet.site.agent(&["backup", "other"]).unwrap(), 0).unwrap();
        }
        self.fleet.restart().unwrap();
        self.keep("last=1")
    }

    /// Says how much is kept of the source whose points go.
    fn keep(&self, count: &str) -> Running {
        let keep = ["retention", "set", "web1/other", "floor-points=1", "floor-age=0s", count];
        Running::start(&mut self.fleet.site.keepfast(&keep).unwrap()).unwrap()
    }

    fn back_up(&mut self) {
        self.history.change().unwrap();
        expect(&mut self.fleet.site.agent(&["backup"]).unwrap(), 0).unwrap();
        self.history.settle(&self.fleet.site, true).unwrap();
    }

    fn pull(&self, drives: &[usize]) {
        drives.iter().for_each(|drive| self.fleet.pull(*drive).unwrap());
    }

    /// Stops the appliance where it is, and pulls drives if something is under way at this moment; whether it is.
    fn pull_amid(&self, drives: &[usize], is_under_way: impl FnOnce() -> bool) -> bool {
        let server = self.fleet.site.server().unwrap();
        server.freeze().unwrap();
        let is_under_way = is_under_way();
        if is_under_way {
            self.pull(drives);
        }
        server.thaw().unwrap();
        is_under_way
    }

    fn count(&self, words: &str) -> usize {
        self.fleet.count(words).unwrap()
    }

    /// Waits until the appliance has said something more often than so many times, and not a moment more.
    fn wait_until_said(&self, words: &str, before: usize) {
        let begun = Instant::now();
        while self.count(words) == before {
            assert!(begun.elapsed() < SAID_MAX, "{words}: not said\n{}", self.fleet.site.log().unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A drive that is not one of these.
    fn other_than(&self, drives: &[usize]) -> usize {
        (0..self.fleet.disks.len()).find(|drive| !drives.contains(drive)).unwrap()
    }

    /// Loses drives in the middle of something, which succeeds all the same. Those that are out then.
    fn lose(&mut self, moment: Moment, drives: &[usize]) -> Vec<usize> {
        match moment {
            Idle => self.pull(drives),
            Backup | Restore | Verification | Fold | Compaction => self.lose_amid(moment, drives),
            Return => return self.lose_at_a_return(drives),
            Restart => {
                let missing = self.fleet.count("a drive is missing").unwrap();
                self.fleet.site.stop_server().unwrap();
                drives.iter().for_each(|drive| self.fleet.take_away(*drive).unwrap());
                self.fleet.site.start_server().unwrap();
                self.fleet.wait_until_said("a drive is missing", missing).unwrap();
            }
            Addition => {
                let disk = LoopDisk::new(Filesystem::Ext4, DRIVE_BYTES).unwrap();
                let is_lost = self.lose_beside(&["drive", "add", text(&disk.path())], HALF / 10, drives);
                assert!(is_lost, "it was added before anything was lost");
                self.fleet.disks.push(disk);
            }
            Rebuild => {
                let (first, rest) = drives.split_first().unwrap();
                let (healed, out) = (self.count(HEALED), self.count(OUT));
                self.pull(&[*first]);
                self.wait_until_said(OUT, out);
                assert!(self.pull_amid(rest, || self.count(HEALED) == healed), "it was all made anew before");
            }
            Replacement => {
                // The last one came by the addition, and none of the six is it.
                let leaving = self.fleet.disks.len() - 1;
                let disk = LoopDisk::new(Filesystem::Ext4, DRIVE_BYTES).unwrap();
                let (let_go, drive) =
                    (self.count(LET_GO), self.fleet.drive_at(&self.fleet.place(leaving)).unwrap());
                self.fleet.site.operate(&["drive", "replace", &drive, text(&disk.path())]).unwrap();
                assert!(self.pull_amid(drives, || self.count(LET_GO) == let_go), "it was replaced before");
                self.fleet.disks.push(disk);
            }
            Retirement => {
                let leaving = self.fleet.place(self.other_than(drives));
                let let_go = self.count(LET_GO);
                self.fleet
                    .site
                    .operate(&["drive", "retire", &self.fleet.drive_at(&leaving).unwrap()])
                    .unwrap();
                assert!(self.pull_amid(drives, || self.count(LET_GO) == let_go), "it was empty before");
            }
        }
        drives.to_vec()
    }

    /// Does something until it is under way when drives are pulled.
    fn lose_amid(&mut self, moment: Moment, drives: &[usize]) {
        let is_lost = (1..=TRIES).any(|attempt| match moment {
            Backup => self.lose_amid_backup(attempt, drives),
            Restore => self.lose_amid_restore(drives),
            Fold => self.lose_amid_fold(attempt, drives),
            Compaction => self.lose_amid_compaction(drives),
            _ => self.lose_beside(&["pool", "verify"], HALF / 4 / attempt, drives),
        });
        assert!(is_lost, "{moment:?} was always over when drives were to be pulled");
    }

    fn lose_amid_backup(&mut self, attempt: u32, drives: &[usize]) -> bool {
        let mut backup = self.history.start_backup(&self.fleet.site).unwrap();
        std::thread::sleep(HALF / attempt);
        let is_lost = self.pull_amid(drives, || backup.ended().unwrap().is_none());
        assert!(backup.wait().unwrap().success(), "{}", self.fleet.site.log().unwrap());
        self.history.settle(&self.fleet.site, true).unwrap();
        is_lost
    }

    /// Between the first byte that is there again and the last.
    fn lose_amid_restore(&self, drives: &[usize]) -> bool {
        let out = self.fleet.site.path("other-out");
        let restore = ["restore", "web1/files@latest", "--to", text(&out)];
        let mut running = Running::start(&mut self.fleet.site.keepfast(&restore).unwrap()).unwrap();
        while !out.exists() && running.ended().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let is_lost = self.pull_amid(drives, || running.ended().unwrap().is_none());
        assert!(running.wait().unwrap().success(), "{}", self.fleet.site.log().unwrap());
        fs::remove_dir_all(&out).unwrap();
        is_lost
    }

    /// Between the order and the record by which a point goes.
    fn lose_amid_fold(&mut self, attempt: u32, drives: &[usize]) -> bool {
        let folded = self.count(FOLDED);
        let mut order = self.fold();
        std::thread::sleep(HALF / 12 / attempt);
        let is_lost = self.pull_amid(drives, || self.count(FOLDED) == folded);
        assert!(order.wait().unwrap().success());
        self.fleet.wait_until_said(FOLDED, folded).unwrap();
        is_lost
    }

    /// Between the point that goes and the room that comes back.
    fn lose_amid_compaction(&mut self, drives: &[usize]) -> bool {
        let (given, folded) = (self.count(GIVEN_BACK), self.count(FOLDED));
        let mut order = self.fold();
        self.wait_until_said(FOLDED, folded);
        let is_lost = self.pull_amid(drives, || self.count(GIVEN_BACK) == given);
        assert!(order.wait().unwrap().success());
        self.fleet.wait_until_said(GIVEN_BACK, given).unwrap();
        is_lost
    }

    /// Pulls drives while a command is under way, which succeeds all the same. Whether it was not over yet.
    fn lose_beside(&self, arguments: &[&str], after: Duration, drives: &[usize]) -> bool {
        let mut running = Running::start(&mut self.fleet.site.keepfast(arguments).unwrap()).unwrap();
        std::thread::sleep(after);
        let is_lost = self.pull_amid(drives, || running.ended().unwrap().is_none());
        assert!(running.wait().unwrap().success(), "{arguments:?}: {}", self.fleet.site.log().unwrap());
        is_lost
    }

    /// While what one drive holds is compared, because it was away, another one goes. Of two that are given the first
    /// is the one that was away: both at once are as many as may be missing.
    fn lose_at_a_return(&mut self, drives: &[usize]) -> Vec<usize> {
        let (away, lost) = match drives {
            [away, lost, ..] => (*away, *lost),
            _ => (self.other_than(drives), drives[0]),
        };
        let is_lost = (0..TRIES).any(|_| self.lose_amid_return(away, lost));
        assert!(is_lost, "the drive was always back before another one was to be pulled");
        vec![lost]
    }

    /// Between the beginning of a return and the last look at what the drive brought.
    fn lose_amid_return(&mut self, away: usize, lost: usize) -> bool {
        self.pull(&[away]);
        self.fleet.wait_until_out(&[away]).unwrap();
        if self.is_spare {
            self.fleet.wait_until_healed().unwrap();
        }
        self.back_up();
        let mut returning = self.fleet.begin_return(away).unwrap();
        let aside = self.fleet.place(away).join("pool/set/stale");
        let is_compared = || fs::read_dir(&aside).is_ok_and(|mut names| names.next().is_some());
        while !is_compared() && returning.ended().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let is_lost = self.pull_amid(&[lost], is_compared);
        assert!(returning.wait().unwrap().success(), "{}", self.fleet.site.log().unwrap());
        self.fleet.wait_until_back(away).unwrap();
        is_lost
    }

    /// With these drives lost everything is there and goes on; with them back, everything has all its copies.
    fn go_on(&mut self, moment: Moment, out: &[usize]) {
        self.fleet.wait_until_out(out).unwrap();
        assert_eq!(self.fleet.list().unwrap()["lost_count"], 0, "{moment:?}");
        if self.is_spare && !matches!(moment, Retirement | Replacement) {
            self.fleet.wait_until_healed().unwrap();
        }
        self.history.check_all(&self.fleet.site).unwrap();
        self.back_up();
        out.iter().for_each(|drive| self.fleet.bring_back(*drive).unwrap());
        self.fleet.wait_until_healed().unwrap();
        let leaving = match moment {
            Retirement => Some(self.other_than(out)),
            Replacement => Some(self.fleet.disks.len() - 2),
            _ => None,
        };
        if let Some(leaving) = leaving.map(|drive| self.fleet.place(drive)) {
            self.fleet
                .wait_for("the other drive is let go of", |found| row_at(found, &leaving).is_none())
                .unwrap();
            assert!(!leaving.join("pool/segments").exists(), "nothing of the pool is left on it");
        }
    }

    /// Waits until the scrub has read everything. It begins when the appliance starts: the round that was under way ends, and
    /// then all is read anew.
    fn read_all_anew(&mut self) {
        let words = "the whole pool has been read and checked";
        for _ in 0..2 {
            let before = self.count(words);
            self.fleet.restart().unwrap();
            self.fleet.wait_until_said(words, before).unwrap();
        }
    }

    fn conclude(mut self) {
        self.history.conclude(&self.fleet.site).unwrap();
        self.fleet.site.audit().unwrap();
    }
}

#[test]
fn each_of_six_drives_is_lost_in_the_middle_of_anything_and_nothing_else_is() {
    for turn in 0..6 {
        let mut scene = Scene::begin(6, &["--copies", "2"], 11 + turn);
        // A second drive that goes before the copies of the first are made anew is one too many.
        let moments = MOMENTS.into_iter().filter(|moment| *moment != Rebuild);
        for (number, moment) in moments.enumerate() {
            let drive = (number + usize::try_from(turn).unwrap()) % 6;
            eprintln!("drive {drive} is lost: {moment:?}");
            let out = scene.lose(moment, &[drive]);
            scene.go_on(moment, &out);
        }
        scene.conclude();
    }
}

/// All pairs of six drives, in rows in which every drive is once: at each moment each drive is lost in one of the turns.
const PAIRS: [[[usize; 2]; 3]; 5] = [
    [[0, 5], [1, 4], [2, 3]],
    [[1, 5], [0, 2], [3, 4]],
    [[2, 5], [1, 3], [0, 4]],
    [[3, 5], [2, 4], [0, 1]],
    [[4, 5], [0, 3], [1, 2]],
];

/// Points in segments of their own, so that there are groups.
fn with_parity(drives: usize, seed: u64) -> Scene {
    let mut scene = Scene::begin(drives, &["--parity", "4+2"], seed);
    scene.fleet.make_points(&mut scene.history, 6).unwrap();
    scene.fleet.wait_for_parity(2).unwrap();
    scene
}

#[test]
fn two_of_six_drives_at_a_time_are_lost_under_parity_and_nothing_else_is() {
    // The seventh drive, which is added on the way, is what makes a rebuild and a retirement possible.
    let mut pairs = BTreeSet::new();
    for turn in 0..3 {
        let mut scene = with_parity(6, 31 + turn);
        for (number, moment) in MOMENTS.into_iter().enumerate() {
            let pair = PAIRS[number % PAIRS.len()][usize::try_from(turn).unwrap()];
            pairs.insert(pair);
            eprintln!("drives {pair:?} are lost: {moment:?}");
            let out = scene.lose(moment, &pair);
            scene.go_on(moment, &out);
        }
        scene.conclude();
    }
    assert_eq!(pairs.len(), 15, "every pair of six drives was lost");
}

/// Makes 64 KiB in the middle of a file something else.
fn rot(path: &Path) {
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut bytes = vec![0; 64 << 10];
    file.seek(SeekFrom::Start(middle)).unwrap();
    let length = file.read(&mut bytes).unwrap();
    bytes[..length].iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&bytes[..length]).unwrap();
    file.sync_all().unwrap();
}

/// The largest sealed segment on a drive that is nowhere else, if it has any: it is under parity.
fn under_parity(fleet: &Fleet, drive: usize) -> Option<PathBuf> {
    let files = fs::read_dir(fleet.place(drive).join("pool/segments")).unwrap();
    let alone = |path: &PathBuf| {
        let name = path.file_name().unwrap();
        let elsewhere = |other: usize| fleet.place(other).join("pool/segments").join(name).exists();
        (0..fleet.disks.len()).filter(|other| *other != drive).all(|other| !elsewhere(other))
    };
    let files = files.map(|file| file.unwrap().path()).filter(alone);
    files.max_by_key(|path| fs::metadata(path).unwrap().len())
}

#[test]
fn a_latent_error_met_by_a_rebuild_costs_nothing() {
    let mut scene = with_parity(7, 41);
    scene.fleet.wait_until_healed().unwrap();
    let holders: Vec<(usize, PathBuf)> =
        (0..7).filter_map(|drive| Some((drive, under_parity(&scene.fleet, drive)?))).collect();
    let [(lost, _), (rotten, path), ..] = holders.as_slice() else { panic!("{holders:?}") };
    let sound = fs::read(path).unwrap();
    rot(path);
    eprintln!("drive {lost} is lost, {} is rotten", path.display());
    scene.pull(&[*lost]);
    scene.fleet.wait_until_out(&[*lost]).unwrap();
    scene.fleet.wait_until_healed().unwrap();
    scene.history.check_all(&scene.fleet.site).unwrap();
    // A second drive goes when the first one is made up for.
    let second = (0..7).find(|drive| drive != lost && drive != rotten).unwrap();
    scene.pull(&[second]);
    scene.fleet.wait_until_out(&[second]).unwrap();
    scene.history.check_all(&scene.fleet.site).unwrap();
    [*lost, second].iter().for_each(|drive| scene.fleet.bring_back(*drive).unwrap());
    scene.fleet.wait_until_healed().unwrap();
    scene.read_all_anew();
    assert!(!path.exists() || fs::read(path).unwrap() == sound, "the rotten segment is mended");
    scene.conclude();
}

/// Reads of a drive that failed.
fn read_errors(fleet: &Fleet, drive: usize) -> u64 {
    row_at(&fleet.list().unwrap(), &fleet.place(drive)).unwrap()["read_errors"].as_u64().unwrap()
}

/// The drives other than one that hold a segment as well.
fn also_on(fleet: &Fleet, path: &Path, drive: usize) -> Vec<usize> {
    let name = path.file_name().unwrap();
    let is_there = |other: &usize| fleet.place(*other).join("pool/segments").join(name).exists();
    (0..fleet.disks.len()).filter(|other| *other != drive).filter(is_there).collect()
}

/// A place of a drive that it cannot read any more.
struct LostPlace {
    path: PathBuf,
    /// What its segment was.
    sound: Vec<u8>,
    /// Drives that have the segment as well.
    others: Vec<usize>,
}

impl LostPlace {
    /// What could not be read was written again, unless the segment is gone.
    fn check_mended(&self) {
        let is_mended = || fs::read(&self.path).is_ok_and(|found| found == self.sound);
        assert!(!self.path.exists() || is_mended(), "{} was written again", self.path.display());
    }
}

/// Makes the middle of a segment unreadable on a drive: of the longest that is on so many others.
fn lose_place(fleet: &Fleet, drive: usize, copies: usize) -> LostPlace {
    let server = fleet.site.server().unwrap();
    let length = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let mut lost = None;
    let lose = || {
        // Nobody moves, removes or reads it meanwhile.
        server.freeze().unwrap();
        let segments = fs::read_dir(fleet.place(drive).join("pool/segments")).unwrap();
        let segments = segments.map(|entry| entry.unwrap().path());
        let chosen = segments.filter(|path| also_on(fleet, path, drive).len() == copies).max_by_key(length);
        lost = chosen.map(|path| {
            let (sound, others) = (fs::read(&path).unwrap(), also_on(fleet, &path, drive));
            fleet.disks[drive].lose_block(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap_err().raw_os_error(), Some(5), "EIO");
            LostPlace { path, sound, others }
        });
        server.thaw().unwrap();
        lost.is_some()
    };
    fleet.site.wait_until("a segment is kept as often as it should be", lose).unwrap();
    lost.unwrap()
}

/// A fleet of seven of which the last drive is of btrfs, with points on it.
fn with_btrfs(policy: &[&str]) -> Scene {
    let mut scene = Scene::begin(6, policy, 61);
    let disk = LoopDisk::new(Filesystem::Btrfs, 2 * DRIVE_BYTES).unwrap();
    scene.fleet.add(&disk.path(), &[]).unwrap();
    scene.fleet.disks.push(disk);
    scene.fleet.make_points(&mut scene.history, 8).unwrap();
    scene
}

#[test]
fn a_place_of_one_copy_that_cannot_be_read_is_written_again_and_costs_nothing() {
    let mut scene = with_btrfs(&["--copies", "2"]);
    scene.fleet.wait_until_healed().unwrap();
    let lost = lose_place(&scene.fleet, 6, 1);
    // Every drive goes that does not have the other copy: what is made anew is made while one cannot be read.
    for drive in (0..6).filter(|drive| !lost.others.contains(drive)) {
        eprintln!("drive {drive} is lost, {} cannot be read", lost.path.display());
        scene.pull(&[drive]);
        scene.fleet.wait_until_out(&[drive]).unwrap();
        scene.fleet.wait_until_healed().unwrap();
        scene.history.check_all(&scene.fleet.site).unwrap();
        scene.fleet.bring_back(drive).unwrap();
        scene.fleet.wait_until_healed().unwrap();
    }
    scene.read_all_anew();
    assert!(lost.path.exists(), "nothing was to be moved");
    lost.check_mended();
    scene.conclude();
}

#[test]
fn a_place_that_a_drive_cannot_read_met_by_a_rebuild_costs_nothing() {
    let mut scene = with_btrfs(&["--parity", "4+2"]);
    scene.fleet.wait_for_parity(2).unwrap();
    scene.fleet.wait_until_healed().unwrap();
    let lost = lose_place(&scene.fleet, 6, 0);
    // A rebuild needs what cannot be read if what it makes anew is of the same group.
    let is_met = (0..6).any(|drive| {
        eprintln!("drive {drive} is lost, {} cannot be read", lost.path.display());
        let before = read_errors(&scene.fleet, 6);
        scene.pull(&[drive]);
        scene.fleet.wait_until_out(&[drive]).unwrap();
        scene.fleet.wait_until_healed().unwrap();
        let is_met = read_errors(&scene.fleet, 6) > before;
        scene.history.check_all(&scene.fleet.site).unwrap();
        scene.fleet.bring_back(drive).unwrap();
        scene.fleet.wait_until_healed().unwrap();
        is_met
    });
    assert!(is_met, "no rebuild came upon what cannot be read");
    scene.read_all_anew();
    lost.check_mended();
    scene.conclude();
}
