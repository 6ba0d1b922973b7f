//! `kill -9` of the appliance and of the agent at random moments of a backup: what was acknowledged stays.

use system::{History, Site};

/// Kills of each program.
const KILLS: usize = 100;

#[test]
fn an_agent_killed_at_any_moment_loses_nothing_that_was_acknowledged() {
    let site = Site::start().unwrap();
    let mut history = History::begin(&site, 1).unwrap();
    let lasts = history.measure(&site).unwrap();
    let before = history.points();
    for _ in 0..KILLS {
        let mut backup = history.start_backup(&site).unwrap();
        std::thread::sleep(history.moment(lasts));
        let acknowledged = backup.kill().unwrap().success();
        history.settle(&site, acknowledged).unwrap();
    }
    let made = history.points() - before;
    assert!(made < KILLS, "no kill came in time: {made} points from backups of {lasts:?}");
    history.conclude(&site).unwrap();
}

#[test]
fn an_appliance_killed_at_any_moment_loses_nothing_that_was_acknowledged() {
    let mut site = Site::start().unwrap();
    let mut history = History::begin(&site, 2).unwrap();
    let lasts = history.measure(&site).unwrap();
    let before = history.points();
    for round in 0..KILLS {
        let mut backup = history.start_backup(&site).unwrap();
        std::thread::sleep(history.moment(lasts));
        site.kill_server().unwrap();
        // Every fifth agent stays and goes on by itself when the appliance is back.
        let stays = round % 5 == 0;
        let ended = if stays { None } else { Some(backup.kill().unwrap().success()) };
        site.start_server().unwrap();
        let acknowledged = ended.unwrap_or_else(|| {
            let success = backup.wait().unwrap().success();
            assert!(success, "round {round}: the agent did not go on");
            success
        });
        // An agent that never heard of the point which it has made makes one more.
        history.settle_tries(&site, acknowledged, if stays { 2 } else { 1 }).unwrap();
    }
    let made = history.points() - before;
    assert!(made < KILLS, "no kill came in time: {made} points from backups of {lasts:?}");
    history.conclude(&site).unwrap();
}

#[test]
fn an_interrupted_agent_says_so_and_the_next_backup_is_whole() {
    let site = Site::start().unwrap();
    let mut history = History::begin(&site, 3).unwrap();
    let lasts = history.measure(&site).unwrap();
    let mut interrupted = 0;
    for _ in 0..20 {
        let mut backup = history.start_backup(&site).unwrap();
        std::thread::sleep(history.moment(lasts));
        backup.interrupt().unwrap();
        let ended = backup.wait().unwrap();
        // Before the program has begun to listen, the signal itself ends it.
        interrupted += u32::from(ended.code() == Some(1));
        assert!(matches!(ended.code(), Some(0 | 1) | None), "{ended}");
        history.settle(&site, ended.success()).unwrap();
    }
    assert!(interrupted > 0, "no interrupt came in time");
    history.conclude(&site).unwrap();
}
