//! The simulator finds the faults that it is there for, each within a bounded number of crash points; without them
//! the same seeds pass.

#![cfg(feature = "planted-bugs")]

use std::sync::Mutex;

use drives::planted::Bug as DrivesBug;
use pool::planted::{Bug, Planted};
use simulator::{Breach, HISTORY_POINTS, history, is_over_several};

/// Histories that pass without a planted bug.
const HISTORIES: usize = 40;
/// Histories within which one must be found, a small part of those that a run of 100,000 points goes through. Most are found within
/// the first 40; which, changes with every change of what is written when.
const HISTORIES_TO_FIND: usize = 500;
/// The same for one in a set of drives: only some moments show it, and what is lost must be lost just then. A run of 100,000
/// points has as many.
const HISTORIES_OF_DRIVES: usize = 1000;

/// The switch for nonces holds for the whole process, so one test runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn first_breach(planted: Planted, histories: usize) -> Option<Breach> {
    (1..).take(histories).find_map(|seed| history(seed, HISTORY_POINTS, planted).err())
}

fn found(bug: Bug) -> Breach {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|error| error.into_inner());
    let breach = first_breach(Planted::new(bug), HISTORIES_TO_FIND);
    breach.unwrap_or_else(|| panic!("{bug:?} is not found in {HISTORIES_TO_FIND} histories"))
}

#[test]
fn without_planted_bugs_the_same_seeds_pass() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|error| error.into_inner());
    if let Some(breach) = first_breach(Planted::default(), HISTORIES) {
        panic!("{breach}");
    }
}

#[test]
fn a_file_that_is_not_synced_is_found() {
    println!("{}", found(Bug::SkipFileSync));
}

#[test]
fn a_directory_that_is_not_synced_is_found() {
    println!("{}", found(Bug::SkipDirectorySync));
}

#[test]
fn an_early_acknowledgement_is_found() {
    println!("{}", found(Bug::AcknowledgeEarly));
}

#[test]
fn a_sync_that_is_tried_again_is_found() {
    println!("{}", found(Bug::RetrySync));
}

#[test]
fn a_segment_that_is_appended_to_after_a_crash_is_found() {
    println!("{}", found(Bug::AppendAfterCrash));
}

#[test]
fn room_that_backups_count_on_is_missed() {
    println!("{}", found(Bug::IgnoreSessions));
    println!("{}", found(Bug::StoredUnpromised));
}

#[test]
fn room_of_points_that_are_not_counted_is_missed() {
    println!("{}", found(Bug::ReclaimUncounted));
}

#[test]
fn a_point_that_is_taken_from_under_a_reader_is_missed() {
    println!("{}", found(Bug::IgnoreLeases));
}

#[test]
fn a_file_that_goes_before_its_record_is_missed() {
    println!("{}", found(Bug::RemoveBeforeCommit));
}

#[test]
fn what_goes_with_a_segment_although_it_is_needed_is_missed() {
    println!("{}", found(Bug::MoveNothing));
}

#[test]
fn what_goes_with_a_segment_of_the_log_although_it_counts_is_missed() {
    println!("{}", found(Bug::RestateNothing));
    println!("{}", found(Bug::ForgetLog));
}

#[test]
fn references_that_a_leaving_point_takes_from_others_are_found() {
    println!("{}", found(Bug::MiscountLeaving));
}

#[test]
fn references_that_are_counted_twice_are_found() {
    println!("{}", found(Bug::ForgetProgress));
}

#[test]
fn a_listing_of_what_is_gone_is_found() {
    println!("{}", found(Bug::ForgetSweep));
    println!("{}", found(Bug::GoneStaysKnown));
}

#[test]
fn a_scrub_that_takes_what_a_crash_left_for_damage_is_found() {
    println!("{}", found(Bug::CheckBeyondMark));
}

#[test]
fn a_source_that_does_not_get_what_it_asks_for_is_found() {
    println!("{}", found(Bug::IgnoreDemands));
}

fn found_in_drives(bug: DrivesBug) -> Breach {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|error| error.into_inner());
    drives::planted::plant(Some(bug));
    let seeds = (1..).filter(|seed| is_over_several(*seed)).take(HISTORIES_OF_DRIVES);
    let breach = seeds.filter_map(|seed| history(seed, HISTORY_POINTS, Planted::default()).err()).next();
    drives::planted::plant(None);
    breach.unwrap_or_else(|| panic!("{bug:?} is not found in {HISTORIES_OF_DRIVES} histories"))
}

#[test]
fn a_drive_that_fell_out_and_is_believed_with_the_power_is_found() {
    println!("{}", found_in_drives(DrivesBug::FallOutUnwritten));
}

#[test]
fn copies_that_go_before_there_is_parity_are_missed() {
    println!("{}", found_in_drives(DrivesBug::RemoveBeforeParity));
}

#[test]
fn what_a_drive_holds_that_is_let_go_of_early_is_missed() {
    println!("{}", found_in_drives(DrivesBug::RetireEarly));
}

#[test]
fn a_drive_that_comes_back_and_is_believed_is_found() {
    println!("{}", found_in_drives(DrivesBug::BelieveReturned));
}

#[test]
fn copies_that_differ_after_a_crash_are_found() {
    println!("{}", found_in_drives(DrivesBug::SkipMark));
}

#[test]
fn a_bad_copy_that_is_left_as_it_is_is_found() {
    println!("{}", found_in_drives(DrivesBug::MendNothing));
}

#[test]
fn parity_that_goes_early_is_missed() {
    println!("{}", found_in_drives(DrivesBug::RemoveParityEarly));
}

#[test]
fn a_nonce_that_is_used_twice_is_found() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|error| error.into_inner());
    chunk::planted::repeat_frame_numbers(true);
    let breach = first_breach(Planted::default(), HISTORIES_TO_FIND);
    chunk::planted::repeat_frame_numbers(false);
    let breach = breach.expect("a nonce that is used twice is not found");
    assert!(breach.what.contains("sealed two texts"), "{breach}");
}
