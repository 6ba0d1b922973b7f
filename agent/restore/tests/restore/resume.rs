//! A restore can be broken off anywhere, any number of times, and goes on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::ErrorKind;
use model::archive::PointKey;
use model::item::{Attributes, FileKind};
use restore::{Naming, Overwrite, Progress, Request, RestoreError, restore};

use crate::archive::{Memory, attributes, name_of};
use crate::fidelity::{noise, odd_tree};
use crate::snapshot::{assert_same, request, run, run_clean, snapshot};

/// Says stop after so many reports.
struct Breaker<'s> {
    left: AtomicU64,
    stop: &'s AtomicBool,
}

impl Progress for Breaker<'_> {
    fn total(&self, _: u64, _: u64) {}

    fn advance(&self, _: u64, _: u64) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn problem(&self, path: &[u8], message: &str) {
        panic!("{}: {message}", model::Escaped(path));
    }
}

/// Runs a restore up to some report; true if it came to its end.
pub(crate) fn run_until(request: &Request<'_>, reports: u64) -> bool {
    let stop = AtomicBool::new(false);
    let breaker = Breaker { left: AtomicU64::new(reports), stop: &stop };
    match restore(request, &breaker, &stop) {
        Ok(_) => true,
        Err(RestoreError::Stopped) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A tree of enough files to be broken off often.
fn source(root: &Path) {
    odd_tree(root);
    for n in 0..300_u64 {
        let directory = root.join(format!("many/{}", n % 7));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(n.to_string()), noise(usize::try_from(n * 37).unwrap(), n)).unwrap();
    }
}

#[test]
fn a_restore_that_is_stopped_again_and_again_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    let expected = snapshot(&from);
    let namings: [Option<Naming<'_>>; 2] = [None, Some(&name_of)];
    for seed in 0..12_u64 {
        let target = folder.path().join(format!("target{seed}"));
        let naming = namings[usize::from(seed % 2 == 0)];
        let mut runs = 0;
        let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        loop {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            // Later runs begin with what is done, so they get further.
            let reports = 1 + u64::from_le_bytes(bytes) % 400 + runs * 100;
            let request = Request { naming, ..request(&memory, &target) };
            if run_until(&request, reports) {
                break;
            }
            runs += 1;
            assert!(target.join(".keepfast-restore").exists(), "seed {seed}: the marker stays");
        }
        assert!(runs > 0, "seed {seed}: it was broken off");
        assert_same(&snapshot(&target), &expected);
    }
}

#[test]
fn a_restore_that_is_stopped_at_any_moment_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    let expected = snapshot(&from);
    let started = std::time::Instant::now();
    run_clean(&request(&memory, &folder.path().join("whole")));
    let duration = started.elapsed();
    let mut broken_off = 0;
    for part in 1..20 {
        let target = folder.path().join(format!("target{part}"));
        let stop = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(duration * part / 20);
                stop.store(true, Ordering::Relaxed);
            });
            restore(&request(&memory, &target), &crate::snapshot::Heard::default(), &stop)
        });
        broken_off += u32::from(matches!(outcome, Err(RestoreError::Stopped)));
        if outcome.is_err() {
            run_clean(&request(&memory, &target));
        }
        assert_same(&snapshot(&target), &expected);
    }
    assert!(broken_off > 3, "{broken_off} were broken off");
}

#[test]
fn what_shuts_its_owner_out_is_gone_on_with() {
    let mut memory = Memory::new();
    for mode in [0, 0o500, 0o333] {
        let directory = memory.directory(1, format!("d{mode:o}").as_bytes());
        let attributes = Attributes { mode, ..attributes(FileKind::Directory) };
        memory.put_inode(directory, attributes, 0, 1);
        for n in 0..10_u64 {
            let file = memory.file(directory, n.to_string().as_bytes(), &noise(100, n));
            let attributes = Attributes { mode: 0o200, ..crate::archive::attributes(FileKind::File) };
            memory.put_inode(file, attributes, 100, 1);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    assert!(!run_until(&request(&memory, &target), 45));
    // As if it had been broken off after the first directory was finished.
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(target.join("d0"), mode(0)).unwrap();
    let outcome = run_clean(&request(&memory, &target));
    assert_eq!((outcome.files, outcome.directories), (30, 4));
    for (path, seen) in [("d0", 0o040_000), ("d500", 0o040_500), ("d333", 0o040_333)] {
        let found = target.join(path).metadata().unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&found), seen);
        fs::set_permissions(target.join(path), mode(0o700)).unwrap();
    }
}

#[test]
fn a_restore_that_runs_is_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    assert!(!run_until(&request(&memory, &target), 300));
    let before = snapshot(&target);
    let marker = fs::File::open(target.join(".keepfast-restore")).unwrap();
    marker.lock().unwrap();
    let error = run(&request(&memory, &target)).unwrap_err();
    assert!(matches!(error, RestoreError::Busy { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_same(&snapshot(&target), &before);
}

#[test]
fn what_a_power_cut_leaves_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    let target = folder.path().join("target");
    assert!(!run_until(&request(&memory, &target), 700));
    // Files that were not written back are shorter, or empty, or lack their last attributes.
    let mut cut = 0;
    for (path, seen) in snapshot(&target) {
        if path.starts_with("many") && seen.mode & 0o170_000 == 0o100_000 {
            let file = fs::File::options().write(true).open(target.join(path)).unwrap();
            cut += 1;
            file.set_len(seen.size * (cut % 3) / 2).unwrap();
        }
    }
    assert!(cut > 10);
    run_clean(&request(&memory, &target));
    assert_same(&snapshot(&target), &snapshot(&from));
}

#[test]
fn what_others_changed_meanwhile_is_still_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    let target = folder.path().join("target");
    assert!(!run_until(&request(&memory, &target), 700));
    let (path, _) = snapshot(&target)
        .into_iter()
        .rfind(|(path, seen)| path.starts_with("many") && seen.size > 9)
        .unwrap();
    fs::write(target.join(&path), "mine").unwrap();
    let before = snapshot(&target);
    let error = run(&request(&memory, &target)).unwrap_err();
    assert!(matches!(error, RestoreError::Conflicts { count: 1, .. }), "{error}");
    assert_same(&snapshot(&target), &before);
}

#[test]
fn directories_that_were_there_before_keep_their_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    fs::create_dir_all(target.join("many/3")).unwrap();
    for path in ["many", "many/3", ""] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o701);
        fs::set_permissions(target.join(path), mode).unwrap();
    }
    assert!(!run_until(&request(&memory, &target), 500));
    run_clean(&request(&memory, &target));
    let (found, expected) = (snapshot(&target), snapshot(&from));
    for (path, seen) in &expected {
        let found = &found[path];
        assert_eq!(found.content, seen.content, "{}", path.display());
        let was_there = ["many", "many/3", ""].iter().any(|p| Path::new(p) == path);
        assert_eq!(found.mode, if was_there { 0o040_701 } else { seen.mode }, "{}", path.display());
    }
}

#[test]
fn a_large_file_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), noise(64 << 20, 5)).unwrap();
    let memory = Memory::capture(&from);
    let request = Request { naming: Some(&name_of), ..request(&memory, &target) };
    assert!(!run_until(&request, 512));
    let left: Vec<_> = fs::read_dir(&target).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the marker and an unfinished file: {left:?}");
    let before = memory.fetched();
    let outcome = run_clean(&request);
    assert_eq!(outcome.bytes_unchanged, 32 << 20);
    assert_eq!(memory.fetched() - before, 512, "the other half");
    assert_same(&snapshot(&target), &snapshot(&from));
}

#[test]
fn another_restore_does_not_take_over() {
    let folder = tempfile::tempdir().unwrap();
    let (from, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&from).unwrap();
    source(&from);
    let memory = Memory::capture(&from);
    assert!(!run_until(&request(&memory, &target), 300));
    let before = snapshot(&target);
    let other_point = || PointKey { number: 2, ..request(&memory, &target).point };
    let error = run(&Request { point: other_point(), ..request(&memory, &target) }).unwrap_err();
    assert!(matches!(error, RestoreError::Unfinished { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_same(&snapshot(&target), &before);

    // With leave to replace it does, and removes what the first one left unfinished.
    fs::write(target.join(".keepfast-restore-999999"), "unfinished").unwrap();
    let request =
        Request { point: other_point(), overwrite: Overwrite::Differing, ..request(&memory, &target) };
    run_clean(&request);
    assert_same(&snapshot(&target), &snapshot(&from));
}

#[test]
fn a_backup_of_a_broken_off_restore_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::new();
    let directory = memory.directory(1, b"d");
    for n in 1..9 {
        memory.file(directory, format!(".keepfast-restore-{n}").as_bytes(), b"unfinished");
    }
    memory.file(directory, b"large", &noise(12 << 20, 1));
    memory.file(1, b".keepfast-restore", b"marker");
    let target = folder.path().join("t");
    let outcome = run(&request(&memory, &target)).unwrap();
    assert_eq!(outcome.problems.len(), 1, "the marker's own name: {:?}", outcome.problems);
    assert_eq!(fs::read_dir(target.join("d")).unwrap().count(), 9);
    assert_eq!(fs::read(target.join("d/.keepfast-restore-3")).unwrap(), b"unfinished");
}
