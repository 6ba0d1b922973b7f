//! The clocks and the random numbers of the kernel.

use std::time::Duration;

use medium::{Clock, Entropy};
use model::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The kernel's wall clock, and its clock since boot, which goes on during suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Time {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
        Time::from_parts(tv_sec, below_second(tv_nsec))
    }

    fn monotonic(&self) -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(tv_sec).expect("time since boot is not negative"), below_second(tv_nsec))
    }
}

/// Which run of the kernel this is; zeros where the kernel does not say.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

fn below_second(nanoseconds: i64) -> u32 {
    u32::try_from(nanoseconds).expect("the kernel gives 0 to 999,999,999 nanoseconds")
}

/// The kernel's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("Linux has getrandom since 3.17; without it no key may be made");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_tell_the_time() {
        let (before, started) = (HostClock.now(), HostClock.monotonic());
        assert!(before > Time::parse("2025-01-01T00:00:00Z").unwrap(), "{before}");
        std::thread::sleep(Duration::from_millis(5));
        let passed = HostClock.monotonic().checked_sub(started).expect("it never goes back");
        assert!(passed >= Duration::from_millis(5), "{passed:?}");
        assert!(HostClock.now() > before);
    }

    #[test]
    fn a_boot_has_one_name() {
        assert_eq!(boot_id(), boot_id());
        assert_ne!(boot_id(), [0; 16]);
    }

    #[test]
    fn entropy_fills_all_of_the_buffer_and_differs() {
        let mut ored = [0_u8; 300];
        let mut draws = std::collections::BTreeSet::new();
        for _ in 0..32 {
            let mut buffer = [0; 300];
            HostEntropy.fill(&mut buffer);
            ored.iter_mut().zip(buffer).for_each(|(to, from)| *to |= from);
            draws.insert(buffer);
        }
        assert!(ored.iter().all(|b| *b != 0), "a byte stayed zero in 32 draws");
        assert_eq!(draws.len(), 32);
    }
}
