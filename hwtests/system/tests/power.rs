//! Power cuts of a real filesystem below the appliance at random moments of a backup. Needs root and loop devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use system::{Filesystem, History, LoopDisk, Site};

/// Cuts the power again and again, and looks each time what is left.
fn cut(filesystem: Filesystem, cuts: u32, seed: u64) {
    // Dropped in the reverse order: the appliance goes before its disk.
    let mut disk = LoopDisk::new(filesystem, 1 << 30).unwrap();
    let mut site = Site::start_on(&disk.path().join("appliance")).unwrap();
    let mut history = History::begin(&site, seed).unwrap();
    let lasts = history.measure(&site).unwrap();
    let before = history.points();
    for round in 0..cuts {
        let mut backup = history.start_backup(&site).unwrap();
        let acknowledged = if round % 4 == 0 {
            // The moment that matters most: right after the agent was told that it is durable.
            backup.wait().unwrap().success()
        } else {
            std::thread::sleep(history.moment(lasts));
            backup.ended().unwrap().is_some_and(|ended| ended.success())
        };
        disk.cut_power().unwrap();
        site.kill_server().unwrap();
        let acknowledged = backup.kill().unwrap().success() || acknowledged;
        disk.unmount().unwrap();
        disk.mount().unwrap();
        site.start_server().unwrap();
        history.settle(&site, acknowledged).unwrap();
    }
    let made = history.points() - before;
    assert!(made < cuts as usize, "no cut came in time: {made} points from backups of {lasts:?}");
    history.conclude(&site).unwrap();
    site.kill_server().unwrap();
    disk.unmount().unwrap();
}

#[test]
fn fifty_power_cuts_on_ext4_lose_nothing_that_was_acknowledged() {
    cut(Filesystem::Ext4, 50, 1);
}

#[test]
fn power_cuts_on_xfs_lose_nothing_that_was_acknowledged() {
    cut(Filesystem::Xfs, 15, 2);
}
