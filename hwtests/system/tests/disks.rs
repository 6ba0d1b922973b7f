//! Whole disks that become drives: loop devices with real partition tables and filesystems. Needs root and loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hardware::{
    Action, Content, DriveId, Found, Hardware, HardwareError, Inspection, Kind, Known, Located, Mounted,
    Plan, Prepared, Rhythm, Wanted,
};
use system::{BlankDisk, expect, is_mounted, run};

const SIZE: u64 = 400 << 20;
const DRIVE: DriveId = DriveId([0x5e; 16]);

fn go_on(_: &hardware::Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A machine, and a folder below which its drives are mounted.
struct Bench {
    hardware: Hardware,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { hardware: Hardware::default(), folder: tempfile::tempdir().unwrap() }
    }

    fn mounts(&self) -> PathBuf {
        self.folder.path().join("mounts")
    }

    fn inspect(&self, disk: &BlankDisk) -> Inspection {
        self.hardware.inspect(disk.device().unwrap()).unwrap()
    }

    fn plan(&self, disk: &BlankDisk, drive: DriveId, force: bool) -> Result<Plan, HardwareError> {
        let wanted = Wanted { drive, mounts: self.mounts(), force };
        self.hardware.plan(&self.inspect(disk), &wanted)
    }

    fn carry_out(&self, plan: &Plan) -> Result<Prepared, HardwareError> {
        self.hardware.prepare(plan, plan.confirmation.expected(), &mut go_on)
    }

    fn prepare(&self, disk: &BlankDisk, drive: DriveId, force: bool) -> Prepared {
        self.carry_out(&self.plan(disk, drive, force).unwrap()).unwrap()
    }

    /// Why a disk is refused without force; whether force helps.
    fn refusal(&self, disk: &BlankDisk) -> (String, bool) {
        let before = edges(disk);
        let refused = self.plan(disk, DRIVE, false).unwrap_err();
        assert_eq!(refused.kind(), Kind::Refused);
        let forced = self.plan(disk, DRIVE, true).is_ok();
        assert_eq!(edges(disk), before, "planning changes nothing");
        (refused.to_string(), forced)
    }
}

/// Both ends of a disk.
fn edges(disk: &BlankDisk) -> (Vec<u8>, Vec<u8>) {
    let mut file = fs::File::open(disk.device().unwrap()).unwrap();
    let (mut first, mut last) = (vec![0; 2 << 20], vec![0; 1 << 20]);
    file.read_exact(&mut first).unwrap();
    file.seek(SeekFrom::End(-(1 << 20))).unwrap();
    file.read_exact(&mut last).unwrap();
    (first, last)
}

fn system(program: &str, arguments: &[&str], disk: &BlankDisk) {
    expect(Command::new(program).args(arguments).arg(disk.device().unwrap()), 0).unwrap();
}

/// How something is mounted.
fn options(directory: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let line = table.lines().map(fields).find(|fields| Path::new(&fields[1]) == directory).unwrap();
    format!("{} {}", line[2], line[3])
}

#[test]
fn a_blank_disk_becomes_a_drive_and_is_found_again_wherever_it_is_plugged_in() {
    let bench = Bench::new();
    let mut disk = BlankDisk::new(SIZE).unwrap();
    let found = bench.inspect(&disk);
    assert_eq!((found.bytes, &found.content, found.is_busy), (SIZE, &Content::Blank, false));
    assert!(found.model.unwrap().contains("loop over") && found.serial.is_none() && found.mounted.is_empty());

    let prepared = bench.prepare(&disk, DRIVE, false);
    assert_eq!(prepared.done, [Action::Partition, Action::MakeFilesystem, Action::Mount]);
    let directory = &prepared.mounted.directory;
    assert!(directory.ends_with("mounts/kf-5e5e5e5e") && is_mounted(directory).unwrap());
    let how = options(directory);
    for option in ["xfs ", "rw", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(how.contains(option), "{how}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(directory), mode(&bench.mounts())), (0o700, 0o700));
    fs::write(directory.join("file"), "content").unwrap();
    let start = expect(Command::new("blkid").args(["-p", "-o", "export"]).arg(&prepared.mounted.device), 0);
    let start = start.unwrap();
    for line in ["PART_ENTRY_NAME=keepfast", "PART_ENTRY_OFFSET=2048", "LABEL=kf-5e5e5e5e"] {
        assert!(start.contains(line), "{start}");
    }
    let found = bench.inspect(&disk);
    assert!(matches!(&found.content, Content::Drive { drive, .. } if *drive == DRIVE), "{found:?}");
    assert_eq!((found.mounted.as_slice(), found.is_busy), (&[directory.clone()][..], true));

    // Again: nothing is left to do.
    let again = bench.prepare(&disk, DRIVE, false);
    assert_eq!((again.done, &again.mounted), (vec![], &prepared.mounted));
    bench.hardware.unmount(&prepared.mounted).unwrap();
    assert!(!directory.exists());

    disk.unplug().unwrap();
    let absent = bench.hardware.mount_known(&[DRIVE], &bench.mounts());
    assert!(matches!(absent.as_slice(), [Known::Absent(drive)] if *drive == DRIVE), "{absent:?}");
    // Another disk takes its place.
    let other = BlankDisk::new(SIZE).unwrap();
    disk.plug_in().unwrap();
    assert_ne!(other.device().unwrap(), disk.device().unwrap());
    for _ in 0..2 {
        let known = bench.hardware.mount_known(&[DRIVE, DriveId([1; 16])], &bench.mounts());
        let [Known::Mounted(Mounted { directory, .. }), Known::Absent(_)] = known.as_slice() else {
            panic!("{known:?}")
        };
        assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content");
    }
    assert_eq!(bench.hardware.drives().iter().filter(|found| found.drive == DRIVE).count(), 1);
    bench.hardware.unmount(&Mounted { device: disk.device().unwrap().into(), ..prepared.mounted }).unwrap();
}

#[test]
fn what_somebody_may_need_is_refused_and_named_and_force_takes_it() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    system("mkfs.ext4", &["-q", "-L", "photos"], &disk);
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains("ext4 named \"photos\"") && forced, "{reason}");

    system("mkswap", &["--force"], &disk);
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains("swap") && forced, "{reason}");

    let table = "label: gpt\nsize=100MiB\nsize=100MiB\n";
    let script = format!("printf '{table}' | sfdisk --quiet --wipe always \"$0\" && partx --update \"$0\"");
    expect(Command::new("sh").args(["-c", &script]).arg(disk.device().unwrap()), 0).unwrap();
    let found = bench.inspect(&disk);
    assert_eq!((found.parts.len(), &found.parts[0].found), (3, &Some(Found::Table("gpt".into()))));
    let second = format!("{}p2", disk.device().unwrap().display());
    expect(Command::new("mkfs.ext4").args(["-q", "-L", "second", &second]), 0).unwrap();
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains("(gpt) with 2 partitions"), "{reason}");
    assert!(reason.contains(&format!("ext4 named \"second\" on {second}")) && forced, "{reason}");

    let plan = bench.plan(&disk, DRIVE, true).unwrap();
    assert!(plan.lost.iter().any(|what| what.contains("second")), "{plan}");
    let prepared = bench.carry_out(&plan).unwrap();
    assert!(is_mounted(&prepared.mounted.directory).unwrap());
    assert_eq!(bench.inspect(&disk).parts.len(), 2, "nothing of what was there is left");
    bench.hardware.unmount(&prepared.mounted).unwrap();

    // One partition that is not where ours is: the filesystem must not be made in the old place.
    let table = "label: gpt\nstart=200MiB, size=100MiB\n";
    let script = format!("printf '{table}' | sfdisk --quiet --wipe always \"$0\" && partx --update \"$0\"");
    expect(Command::new("sh").args(["-c", &script]).arg(disk.device().unwrap()), 0).unwrap();
    let prepared = bench.prepare(&disk, DRIVE, true);
    let parts = bench.inspect(&disk).parts;
    assert!(parts.len() == 2 && parts[1].bytes > SIZE - (4 << 20), "{parts:?}");
    bench.hardware.unmount(&prepared.mounted).unwrap();

    // The drive of another pool.
    let other = DriveId([0x77; 16]);
    let refused = bench.plan(&disk, other, false).unwrap_err().to_string();
    assert!(refused.contains("the drive kf-5e5e5e5e of a pool"), "{refused}");
    let prepared = bench.prepare(&disk, other, true);
    assert!(prepared.mounted.directory.ends_with("kf-77777777"));
    bench.hardware.unmount(&prepared.mounted).unwrap();
}

#[test]
fn bytes_that_nobody_knows_are_not_taken_for_nothing() {
    let bench = Bench::new();
    for offset in [700_000, SIZE - 5000] {
        let disk = BlankDisk::new(SIZE).unwrap();
        let mut device = fs::File::options().write(true).open(disk.device().unwrap()).unwrap();
        device.seek(SeekFrom::Start(offset)).unwrap();
        device.write_all(b"something").unwrap();
        device.sync_all().unwrap();
        let (reason, forced) = bench.refusal(&disk);
        assert!(reason.contains("nobody knows what they are") && forced, "{reason}");
    }
    let small = BlankDisk::new(300 << 20).unwrap();
    let (reason, forced) = bench.refusal(&small);
    assert!(reason.contains("300 MiB and must have 320") && !forced, "{reason}");
}

#[test]
fn a_disk_in_use_is_refused_even_with_force() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    system("mkfs.ext4", &["-q"], &disk);
    let there = bench.folder.path().join("there");
    fs::create_dir(&there).unwrap();
    expect(Command::new("mount").arg(disk.device().unwrap()).arg(&there), 0).unwrap();
    let found = bench.inspect(&disk);
    assert_eq!((found.mounted, found.is_busy), (vec![there.clone()], true));
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains(&format!("mounted on {}", there.display())) && !forced, "{reason}");
    expect(Command::new("umount").arg(&there), 0).unwrap();

    system("mkswap", &["--force"], &disk);
    system("swapon", &[], &disk);
    let found = bench.inspect(&disk);
    let (reason, forced) = bench.refusal(&disk);
    system("swapoff", &[], &disk);
    assert!(found.is_swap && found.is_of_system && !forced, "{reason}");

    // Somebody who only holds it, as RAID, LVM and other programs do.
    let held = rustix::fs::open(
        disk.device().unwrap(),
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::EXCL,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains("another program") && !forced, "{reason}");
    drop(held);
    assert!(bench.plan(&disk, DRIVE, true).is_ok());
}

/// The disks that a filesystem lies on; none if it lies on nothing that is one, as in a container.
fn disks_below(path: &str) -> Vec<PathBuf> {
    let source = expect(Command::new("findmnt").args(["-no", "SOURCE", path]), 0).unwrap();
    if !source.starts_with("/dev/") {
        return Vec::new();
    }
    let source = source.trim().split('[').next().unwrap();
    let list = ["--inverse", "--noheadings", "--list", "--output", "TYPE,PATH", source];
    let below = expect(Command::new("lsblk").args(list), 0).unwrap();
    let disks: Vec<PathBuf> =
        below.lines().filter_map(|line| Some(line.strip_prefix("disk")?.trim().into())).collect();
    assert!(!disks.is_empty(), "{below}");
    disks
}

#[test]
fn the_disk_of_the_running_system_and_what_is_no_disk_are_refused() {
    let bench = Bench::new();
    for device in disks_below("/") {
        let found = match bench.hardware.inspect(&device) {
            Ok(found) => found,
            // Where not even root may open it, nothing can be written to it.
            Err(error) => {
                assert!(
                    error.to_string().contains("is left as it is") || error.kind() == Kind::Io,
                    "{error}"
                );
                continue;
            }
        };
        assert!(found.is_of_system, "{found:?}");
        let wanted = Wanted { drive: DRIVE, mounts: bench.mounts(), force: true };
        let refused = bench.hardware.plan(&found, &wanted).unwrap_err().to_string();
        assert!(refused.contains("the running system lies on it"), "{refused}");
    }
    for (path, reason) in [("/dev/null", "is no disk"), ("/", "is no disk"), ("/dev/nothing", "look at")] {
        let error = bench.hardware.inspect(Path::new(path)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let disk = BlankDisk::new(SIZE).unwrap();
    let prepared = bench.prepare(&disk, DRIVE, false);
    let error = bench.hardware.inspect(&prepared.mounted.device).unwrap_err();
    assert!(error.to_string().contains("is a partition"), "{error}");
    bench.hardware.unmount(&prepared.mounted).unwrap();
}

#[test]
fn only_the_disk_that_was_confirmed_is_written_to_and_only_as_it_was() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    let plan = bench.plan(&disk, DRIVE, false).unwrap();
    let before = edges(&disk);
    for wrong in ["", "yes", "WD-1234", &disk.device().unwrap().display().to_string()] {
        let refused = bench.hardware.prepare(&plan, wrong, &mut go_on).unwrap_err();
        assert!(matches!(refused, HardwareError::Unconfirmed { .. }), "{refused}");
    }
    // A blank disk of another size has another code, so the code of one does not confirm the other.
    let other = BlankDisk::new(SIZE + (1 << 20)).unwrap();
    let code = bench.plan(&other, DRIVE, false).unwrap().confirmation.expected().to_owned();
    assert!(bench.hardware.prepare(&plan, &code, &mut go_on).is_err());
    assert_eq!(edges(&disk), before);

    // Somebody uses the disk between plan and confirmation.
    system("mkfs.ext4", &["-q"], &disk);
    let before = edges(&disk);
    let refused = bench.carry_out(&plan).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{refused}");
    assert_eq!(edges(&disk), before);
    let forced = bench.plan(&disk, DRIVE, true).unwrap();
    system("mkswap", &["--force"], &disk);
    let refused = bench.carry_out(&forced).unwrap_err();
    assert!(matches!(refused, HardwareError::Changed { .. }), "{refused}");
    assert_eq!(bench.inspect(&disk).parts.len(), 1, "it was not partitioned");
}

#[test]
fn a_preparation_that_was_interrupted_before_any_step_is_repeated() {
    let bench = Bench::new();
    for step in [Action::Partition, Action::MakeFilesystem, Action::Mount] {
        let mut disk = BlankDisk::new(SIZE).unwrap();
        let plan = bench.plan(&disk, DRIVE, false).unwrap();
        let mut stop = |next: &hardware::Step| {
            if next.action == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let code = plan.confirmation.expected();
        let stopped = bench.hardware.prepare(&plan, code, &mut stop).unwrap_err();
        assert!(matches!(stopped, HardwareError::Interrupted { .. }), "{stopped}");
        let left = bench.inspect(&disk).content;
        let is_as_expected = match step {
            Action::Partition => left == Content::Blank,
            Action::MakeFilesystem => left == Content::Begun,
            Action::Mount => matches!(left, Content::Drive { drive, .. } if drive == DRIVE),
        };
        assert!(is_as_expected, "{step:?}: {left:?}");
        if step == Action::Mount {
            // The machine restarts in between.
            disk.unplug().unwrap();
            disk.plug_in().unwrap();
        }
        let prepared = bench.prepare(&disk, DRIVE, false);
        assert!(is_mounted(&prepared.mounted.directory).unwrap());
        bench.hardware.unmount(&prepared.mounted).unwrap();
    }
}

#[test]
fn a_filesystem_that_was_never_finished_is_made_again_and_a_lost_one_is_not() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    let prepared = bench.prepare(&disk, DRIVE, false);
    bench.hardware.unmount(&prepared.mounted).unwrap();
    let write = |offset, bytes: &[u8]| {
        let mut device = fs::File::options().write(true).open(&prepared.mounted.device).unwrap();
        device.seek(SeekFrom::Start(offset)).unwrap();
        device.write_all(bytes).unwrap();
        device.sync_all().unwrap();
    };
    // The mark in the superblock that mkfs.xfs takes away at its end.
    write(126, &[1]);
    assert_eq!(bench.inspect(&disk).content, Content::Begun);
    assert!(bench.hardware.drives().iter().all(|found| found.drive != DRIVE));
    bench.hardware.unmount(&bench.prepare(&disk, DRIVE, false).mounted).unwrap();

    // A drive whose superblock is lost has everything else still.
    write(0, &[0; 512]);
    let (reason, forced) = bench.refusal(&disk);
    assert!(reason.contains("a partition table (gpt) with 1 partitions") && forced, "{reason}");
}

#[test]
fn a_program_that_was_killed_in_the_middle_costs_no_more_than_force() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    let plan = bench.plan(&disk, DRIVE, false).unwrap();
    let before_filesystem = |next: &hardware::Step| match next.action {
        Action::MakeFilesystem => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut stop = before_filesystem;
    bench.hardware.prepare(&plan, plan.confirmation.expected(), &mut stop).unwrap_err();
    let partition = format!("{}p1", disk.device().unwrap().display());
    let mut killed = 0;
    for millis in [1, 2, 3, 5, 8, 12, 20, 40] {
        let limit = format!("{}", f64::from(millis) / 1000.0);
        let label = ["-L", "kf-5e5e5e5e", "-m", "uuid=5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5e"];
        let mut cut_off = Command::new("timeout");
        cut_off.args(["--signal=KILL", &limit, "mkfs.xfs", "-f", "-q"]).args(label).arg(&partition);
        killed += u32::from(!run(&mut cut_off).unwrap().status.success());
        let force = matches!(bench.inspect(&disk).content, Content::Foreign(_));
        let prepared = bench.prepare(&disk, DRIVE, force);
        fs::write(prepared.mounted.directory.join("file"), "content").unwrap();
        bench.hardware.unmount(&prepared.mounted).unwrap();
        expect(Command::new("xfs_repair").args(["-n", &partition]), 0).unwrap();
    }
    assert!(killed > 0, "none was killed");
}

#[test]
fn nothing_is_hidden_below_a_mount_and_copies_of_a_drive_are_not_told_apart() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    let prepared = bench.prepare(&disk, DRIVE, false);
    bench.hardware.unmount(&prepared.mounted).unwrap();
    let directory = &prepared.mounted.directory;
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("precious"), "x").unwrap();
    let failure = |known: Vec<Known>| match known.into_iter().next() {
        Some(Known::Failed(_, error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let full = failure(bench.hardware.mount_known(&[DRIVE], &bench.mounts()));
    assert!(full.contains("is not empty"), "{full}");
    fs::remove_dir_all(directory).unwrap();
    std::os::unix::fs::symlink("/tmp", directory).unwrap();
    let link = failure(bench.hardware.mount_known(&[DRIVE], &bench.mounts()));
    assert!(link.contains("kf-5e5e5e5e"), "{link}");
    fs::remove_file(directory).unwrap();

    let mut copy = BlankDisk::new(SIZE).unwrap();
    copy.unplug().unwrap();
    expect(Command::new("cp").arg("--sparse=always").arg(disk.image()).arg(copy.image()), 0).unwrap();
    copy.plug_in().unwrap();
    let twice = failure(bench.hardware.mount_known(&[DRIVE], &bench.mounts()));
    assert!(twice.contains("one is a copy of the other"), "{twice}");
    copy.unplug().unwrap();
    let known = bench.hardware.mount_known(&[DRIVE], &bench.mounts());
    assert!(matches!(known.as_slice(), [Known::Mounted(_)]), "{known:?}");
    bench.hardware.unmount(&prepared.mounted).unwrap();
}

#[test]
fn a_disk_without_an_enclosure_is_shown_by_reading_it_in_a_rhythm() {
    let bench = Bench::new();
    let disk = BlankDisk::new(SIZE).unwrap();
    let millis = Duration::from_millis;
    let rhythm = Rhythm { total: millis(900), on: millis(200), off: millis(300) };
    let device = disk.device().unwrap().to_owned();
    let name = device.file_name().unwrap().to_str().unwrap().to_owned();
    let stat = move || {
        let text = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        text.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
    };
    let before = stat();
    let samples = std::thread::spawn({
        let stat = stat.clone();
        move || {
            let sample = |_| {
                std::thread::sleep(millis(50));
                stat()
            };
            (0..18).map(sample).collect::<Vec<u64>>()
        }
    });
    let located = bench.hardware.locate(&device, rhythm, &|| false).unwrap();
    assert!(matches!(located, Located::Reading { reads } if reads > 10), "{located:?}");
    assert!(stat() > before + 1000, "the disk itself was read");
    let samples = samples.join().unwrap();
    let rests = samples.windows(3).filter(|three| three[0] == three[2]).count();
    assert!(rests >= 2, "it rests between: {samples:?}");
    let stopped = bench.hardware.locate(&device, Rhythm::for_time(Duration::from_secs(600)), &|| true);
    assert_eq!(stopped.unwrap(), Located::Reading { reads: 0 });
}
