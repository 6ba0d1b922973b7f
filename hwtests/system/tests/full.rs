//! A disk that is full: the backup fails loudly, everything old can be read, and service returns by itself.

use std::fs;

use system::{Filesystem, History, LoopDisk, Site, expect, noise, run};

const MIB: usize = 1 << 20;

#[test]
fn a_full_disk_is_told_and_a_larger_one_needs_no_restart() {
    let disk = LoopDisk::new(Filesystem::Xfs, 320 << 20).unwrap();
    let site = Site::start_on(&disk.path().join("appliance")).unwrap();
    let mut history = History::begin(&site, 1).unwrap();
    // Most of the room is taken by somebody else.
    let ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, 150 << 20).unwrap();
    for number in 0..12 {
        fs::write(site.path(&format!("files/large-{number}")), noise(number, 10 * MIB)).unwrap();
    }

    for _ in 0..2 {
        let failed = run(&mut site.agent(&["backup"]).unwrap()).unwrap();
        let words = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{words}");
        assert!(words.contains("No space left on device"), "{words}");
    }
    let line = site.wait_for_line(&["WARN", "a backup has failed", "No space left on device"]).unwrap();
    assert!(line.contains("web1"), "{line}");
    history.settle(&site, false).unwrap();
    history.check_all(&site).unwrap();

    disk.grow(1 << 30).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    history.settle(&site, true).unwrap();
    history.conclude(&site).unwrap();
}
