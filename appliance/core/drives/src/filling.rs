//! When each drive is full, if the pool grows as it is foretold to.
//!
//! What is stored goes to the drives with the most room, as it does when segments are made, so drives of unlike size fill up
//! to the same bytes free, and not on the same day.

use std::cmp::Reverse;

use medium::Space;

use crate::Policy;

/// Pieces in which what comes on a day is put on drives.
const PIECES: u64 = 32;

/// In how many days each drive is full for the first time, from 0: so many thousandths of it are taken. `used_by_day` is
/// what the pool holds at the end of each day, in bytes without copies and parity, and `used_bytes` what it holds before.
#[must_use]
pub fn full_in_days(
    policy: Policy,
    drives: &[Space],
    used_bytes: u64,
    used_by_day: &[u64],
    permille: u16,
) -> Vec<Option<u32>> {
    let mut free: Vec<u64> =
        drives.iter().map(|space| space.available_bytes.min(space.capacity_bytes)).collect();
    let mut full = vec![None; drives.len()];
    let mut before = used_bytes;
    for (day, used) in (0..).zip(used_by_day) {
        if *used >= before {
            take(policy, &mut free, used - before);
        } else {
            give(drives, &mut free, before - used, before);
        }
        before = *used;
        for ((space, free), full) in drives.iter().zip(&free).zip(&mut full) {
            let taken = u128::from(space.capacity_bytes - free) * 1000;
            if full.is_none() && taken >= u128::from(space.capacity_bytes) * u128::from(permille) {
                *full = Some(day);
            }
        }
    }
    full
}

/// Puts bytes on drives, each piece with its copies, or its part of a group, on those with the most room.
fn take(policy: Policy, free: &mut [u64], bytes: u64) {
    let (parts, drives) = match policy.group() {
        Some((data, parity)) if free.len() >= data + parity => (data as u64, data + parity),
        _ => (1, policy.copies()),
    };
    let piece = bytes.div_ceil(PIECES).div_ceil(parts);
    for _ in 0..PIECES {
        let mut order: Vec<usize> = (0..free.len()).collect();
        order.sort_by_key(|drive| Reverse(free[*drive]));
        for drive in order.into_iter().take(drives) {
            free[drive] = free[drive].saturating_sub(piece);
        }
    }
}

/// Takes bytes from drives, from each in proportion to what it holds.
fn give(drives: &[Space], free: &mut [u64], bytes: u64, of: u64) {
    for (space, free) in drives.iter().zip(free) {
        let held = u128::from(space.capacity_bytes - *free);
        let given = (held * u128::from(bytes)).checked_div(u128::from(of)).unwrap_or(0);
        *free += u64::try_from(given.min(held)).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spaces(all: &[(u64, u64)]) -> Vec<Space> {
        all.iter()
            .map(|&(capacity_bytes, available_bytes)| Space { capacity_bytes, available_bytes })
            .collect()
    }

    /// A pool that holds nothing and grows by so much each day.
    fn growing(policy: Policy, drives: &[(u64, u64)], each_day: u64) -> Vec<Option<u32>> {
        let used: Vec<u64> = (1..=365).map(|day| day * each_day).collect();
        full_in_days(policy, &spaces(drives), 0, &used, 900)
    }

    #[test]
    fn drives_alike_are_full_on_the_same_day() {
        let one = [(100_000, 100_000)];
        // Nine tenths of 100,000 at 3,200 a day are reached on the 29th day.
        assert_eq!(growing(Policy::Copies(1), &one, 3_200), [Some(28)]);
        assert_eq!(growing(Policy::Copies(2), &[one[0]; 2], 3_200), [Some(28); 2]);
        assert_eq!(growing(Policy::Copies(1), &[one[0]; 2], 6_400), [Some(28); 2]);
        let parity = Policy::Parity { data: 4, parity: 2 };
        assert_eq!(growing(parity, &[one[0]; 6], 12_800), [Some(28); 6]);
        assert_eq!(growing(parity, &[one[0]; 5], 3_200), growing(Policy::Copies(3), &[one[0]; 5], 3_200));
        assert_eq!(growing(Policy::Copies(1), &one, 32), [None]);
        assert_eq!(growing(Policy::Copies(2), &[], 32), []);
    }

    #[test]
    fn a_larger_drive_takes_more_and_one_that_is_full_is_full_today() {
        let full =
            growing(Policy::Copies(1), &[(100_000, 100_000), (400_000, 400_000), (100_000, 5_000)], 3_200);
        assert_eq!(full[2], Some(0));
        // The first 300,000 bytes go to the large one alone.
        assert!(full[0].unwrap() > 110 && full[1].unwrap() > 100, "{full:?}");
        let mirrored = growing(Policy::Copies(2), &[(100_000, 100_000), (400_000, 400_000)], 3_200);
        assert!(mirrored[0] == Some(28) && mirrored[1] > Some(100), "{mirrored:?}");
    }

    #[test]
    fn what_is_given_back_makes_room() {
        let drives = spaces(&[(100_000, 20_000)]);
        let used: Vec<u64> = (0..100).map(|day| if day % 2 == 0 { 40_000 } else { 84_000 }).collect();
        assert_eq!(full_in_days(Policy::Copies(1), &drives, 80_000, &used, 900), [None]);
        assert_eq!(full_in_days(Policy::Copies(1), &drives, 80_000, &[85_000, 95_000], 900), [Some(1)]);
    }
}
