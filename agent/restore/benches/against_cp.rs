//! Restoring from an archive in memory against `cp -a` of the same tree, both made durable, turn by turn.
//!
//! `cargo bench -p restore` prints the median of the rounds and the ratio; on a noisy machine only ratios count.

#![expect(clippy::unwrap_used, reason = "what a measurement cannot do without fails it")]
#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

#[path = "../tests/restore/archive.rs"]
#[expect(dead_code, reason = "shared with the tests, which use the rest")]
mod archive;
#[path = "../tests/restore/snapshot.rs"]
#[expect(dead_code, reason = "shared with the tests, which use the rest")]
mod snapshot;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archive::{Memory, name_of};
use restore::Request;
use snapshot::{request, run_clean};

const ROUNDS: usize = 5;

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// 20,000 files of 200 to 8,200 bytes in 400 directories.
fn small_files(root: &Path) {
    for n in 0..20_000_u64 {
        let directory = root.join(format!("{}/{}", n / 1000, n / 50));
        std::fs::create_dir_all(&directory).unwrap();
        let length = 200 + usize::try_from(n * 7919 % 8000).unwrap();
        std::fs::write(directory.join(format!("file-{n}.txt")), noise(length, n)).unwrap();
    }
}

/// One file of 1 GiB.
fn large_file(root: &Path) {
    std::fs::create_dir(root).unwrap();
    std::fs::write(root.join("large"), noise(1 << 30, 1)).unwrap();
}

fn timed(act: impl FnOnce()) -> Duration {
    let started = Instant::now();
    act();
    started.elapsed()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    assert!(Command::new("sync").arg("-f").arg(to).status().unwrap().success());
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn measure(what: &str, fill: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    fill(&from);
    let memory = Memory::capture(&from);
    let (mut copies, mut restores, mut checked) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Nothing is removed between rounds: ext4 steps over every inode that was freed in the last minutes.
        let target = |kind: &str| {
            rustix::fs::sync();
            folder.path().join(format!("{kind}{round}"))
        };
        let to = target("cp");
        copies.push(timed(|| copy(&from, &to)));
        let to = target("restore");
        restores.push(timed(|| drop(run_clean(&with_memory(request(&memory, &to))))));
        let to = target("checked");
        let named = Request { naming: Some(&name_of), ..request(&memory, &to) };
        checked.push(timed(|| drop(run_clean(&with_memory(named)))));
    }
    let (copied, restored, checked) = (median(copies), median(restores), median(checked));
    println!(
        "{what}: cp -a {copied:.2} s, restore {restored:.2} s ({:.2} x), with names checked {checked:.2} s ({:.2} x)",
        restored / copied,
        checked / copied
    );
}

fn with_memory(request: Request<'_>) -> Request<'_> {
    Request { memory_bytes: 64 << 20, ..request }
}

fn main() {
    measure("20,000 small files", small_files);
    measure("a file of 1 GiB", large_file);
}
