//! Breaks at any moment, lost and damaged caches, clones: the next backup makes a true point all the same.

use std::sync::atomic::{AtomicBool, Ordering};

use capture::BackupError;

use crate::world::{World, odd, settle, text, write};

/// Breaks the connection after so many messages, until a backup comes through.
fn back_up_with_breaks(world: &World, every: u64) -> u64 {
    let mut breaks = 0;
    for messages in (every..).step_by(usize::try_from(every).unwrap()) {
        world.appliance.messages_left.store(messages, Ordering::SeqCst);
        let result = world.backup();
        world.appliance.reconnect();
        match result {
            Ok(outcome) => {
                assert_eq!(outcome.exceptions, []);
                return breaks;
            }
            Err(BackupError::Appliance { source, .. }) => {
                assert_eq!(source.kind, model::ErrorKind::Io);
                breaks += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    breaks
}

#[test]
fn what_is_durable_is_not_sent_again_after_breaks() {
    for lag in [0, 2] {
        let world = World::new();
        odd::make(&world.tree());
        settle();
        world.appliance.durable_lag.store(lag, Ordering::SeqCst);
        let breaks = back_up_with_breaks(&world, 2);
        assert!(breaks > 3, "{breaks} breaks");
        world.compare();
        assert_eq!(world.appliance.sent_again(), 0);
        assert!(world.appliance.points() <= 2, "at most the point whose answer was lost, and another");
    }
}

#[test]
fn what_is_durable_is_not_read_again() {
    let world = World::new();
    for index in 0..40 {
        write(&world.tree().join(format!("{index}")), &text(index, 500_000));
    }
    write(&world.tree().join("z long"), &text(77, 30_000_000));
    settle();
    world.appliance.messages_left.store(30, Ordering::SeqCst);
    assert!(world.backup().is_err());
    world.appliance.reconnect();
    let outcome = world.backup_and_compare();
    assert!(outcome.totals.files_read < 25, "{:?}", outcome.totals);
    assert_eq!(world.appliance.sent_again(), 0);
}

#[test]
fn a_stop_leaves_a_state_that_goes_on() {
    let world = World::new();
    odd::make(&world.tree());
    let stop = AtomicBool::new(true);
    assert!(matches!(world.backup_until(&stop), Err(BackupError::Stopped)));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| world.backup_until(&stop));
        std::thread::sleep(std::time::Duration::from_millis(60));
        stop.store(true, Ordering::Relaxed);
        match backup.join().unwrap() {
            Ok(_) | Err(BackupError::Stopped) => {}
            Err(other) => panic!("{other}"),
        }
    });
    world.backup_and_compare();
    assert_eq!(world.appliance.sent_again(), 0);
}

#[test]
fn a_lost_answer_makes_the_next_backup_compare_everything() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    write(&world.tree().join("more"), &text(1, 1000));
    let sent = world.appliance.sent();
    world.appliance.forget_continuity();
    let outcome = world.backup_and_compare();
    assert!(outcome.totals.files_read > 6000, "{:?}", outcome.totals);
    assert!(world.appliance.sent() - sent <= 1, "nothing is sent that is there");
    assert_eq!(world.backup_and_compare().totals.files_read, 1 + odd::READ_ALWAYS);
}

#[test]
fn a_cache_that_is_lost_or_damaged_costs_reading_and_nothing_else() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    let file = world.cache_folder().join("home.redb");
    let whole = std::fs::read(&file).unwrap();
    let sent = world.appliance.sent();
    let damage: [&dyn Fn() -> Vec<u8>; 5] = [
        &|| Vec::new(),
        &|| whole[..whole.len() / 2].to_vec(),
        &|| vec![0; whole.len()],
        &|| b"not a database".repeat(1000),
        &|| whole.iter().enumerate().map(|(i, byte)| if i % 4096 == 2000 { !byte } else { *byte }).collect(),
    ];
    for (index, damaged) in damage.iter().enumerate() {
        std::fs::write(&file, damaged()).unwrap();
        world.backup().unwrap_or_else(|error| panic!("damage {index}: {error:?}"));
        world.compare();
    }
    std::fs::remove_file(&file).unwrap();
    world.backup_and_compare();
    assert_eq!(world.appliance.sent(), sent);
    assert_eq!(world.backup_and_compare().totals.files_read, odd::READ_ALWAYS);
}

#[test]
fn a_newest_point_that_is_damaged_does_not_keep_the_next_one_from_being_made() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    world.appliance.rot();
    write(&world.tree().join("more"), &text(1, 1000));
    let sent = world.appliance.sent();
    world.backup_and_compare();
    assert!(world.appliance.sent() - sent <= 1, "nothing is sent that is there");
    assert_eq!(world.appliance.points(), 2);
}

#[test]
fn every_flipped_byte_of_a_cache_is_noticed_or_harmless() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        std::fs::create_dir(world.tree().join(name)).unwrap();
        write(&world.tree().join(name).join("file"), &text(7, 70_000));
    }
    settle();
    world.backup_and_compare();
    let file = world.cache_folder().join("home.redb");
    let whole = std::fs::read(&file).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|&index| whole[index] != 0).collect();
    for index in used.iter().step_by(used.len() / 60 + 1) {
        let mut damaged = whole.clone();
        damaged[*index] ^= 0x41;
        std::fs::write(&file, damaged).unwrap();
        world.backup().unwrap_or_else(|error| panic!("byte {index}: {error:?}"));
        world.compare();
        // The next one must have a cache that goes with the newest point, or none.
        std::fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn an_old_cache_is_void() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    let file = world.cache_folder().join("home.redb");
    let old = std::fs::read(&file).unwrap();
    std::fs::remove_dir_all(world.tree().join("wide")).unwrap();
    world.backup_and_compare();
    std::fs::write(&file, old).unwrap();
    world.backup_and_compare();
}

#[test]
fn an_appliance_that_lacks_chunks_gets_them() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.appliance.messages_left.store(9, Ordering::SeqCst);
    assert!(world.backup().is_err());
    world.appliance.reconnect();
    world.appliance.lose_chunks();
    world.backup_and_compare();
}

#[test]
fn two_backups_of_one_source_do_not_run_at_once() {
    let world = World::new();
    odd::make(&world.tree());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| world.backup());
        let file = world.cache_folder().join("home.redb");
        while !file.exists() {
            std::thread::yield_now();
        }
        match world.backup() {
            Err(error) => assert_eq!(error.kind(), model::ErrorKind::Busy, "{error:?}"),
            Ok(_) => assert!(first.is_finished()),
        }
        first.join().unwrap().unwrap();
    });
    world.compare();
}

#[test]
fn a_forgotten_source_starts_anew() {
    let world = World::new();
    write(&world.tree().join("file"), b"content");
    world.backup_and_compare();
    capture::Cache::new(&world.cache_folder()).forget(&world.config.label).unwrap();
    assert_eq!(std::fs::read_dir(world.cache_folder()).unwrap().count(), 0);
    world.backup_and_compare();
}
