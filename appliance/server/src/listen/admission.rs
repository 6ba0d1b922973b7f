//! How many connections there are: over all, and of each address while the peer is unknown.
//!
//! Whoever cannot prove to be an agent can only use up the places of its own address. Addresses of IPv6 count by
//! their first 64 bits, which is what one network has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Limits;
use super::error::Ending;

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    unknown: HashMap<IpAddr, usize>,
}

/// Counts connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    /// The address that the place counts for; none once the peer is known.
    unknown: Option<IpAddr>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot panic half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Ending> {
        let address = network(address);
        let most = if address.is_loopback() {
            self.limits.unknown_loopback
        } else {
            self.limits.unknown_per_address
        };
        let mut counts = self.lock();
        if counts.connections >= self.limits.connections {
            return Err(Ending::Crowded(counts.connections));
        }
        let unknown = counts.unknown.entry(address).or_default();
        if *unknown >= most {
            return Err(Ending::CrowdedAddress(*unknown));
        }
        *unknown += 1;
        counts.connections += 1;
        drop(counts);
        Ok(Place { admission: self.clone(), unknown: Some(address) })
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }
}

impl Place {
    /// Notes that the peer is known: it does not count for its address any more.
    pub(crate) fn know(&mut self) {
        let mut counts = self.admission.lock();
        forget(&mut counts, self.unknown.take());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        forget(&mut counts, self.unknown.take());
        counts.connections -= 1;
    }
}

fn forget(counts: &mut Counts, address: Option<IpAddr>) {
    let Some(address) = address else { return };
    if let Some(unknown) = counts.unknown.get_mut(&address) {
        *unknown -= 1;
        if *unknown == 0 {
            counts.unknown.remove(&address);
        }
    }
}

/// What an address counts as.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(Limits {
            connections: 100,
            unknown_per_address: 3,
            unknown_loopback: 50,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_places_while_unknown() {
        let admission = admission();
        let mut places: Vec<_> = (0..3).map(|_| admission.admit(address("192.0.2.1")).unwrap()).collect();
        assert!(matches!(admission.admit(address("192.0.2.1")), Err(Ending::CrowdedAddress(3))));
        assert!(matches!(admission.admit(address("::ffff:192.0.2.1")), Err(Ending::CrowdedAddress(3))));
        assert!(admission.admit(address("192.0.2.2")).is_ok(), "others are not affected");
        places[0].know();
        places[0].know();
        let more = admission.admit(address("192.0.2.1")).unwrap();
        assert!(admission.admit(address("192.0.2.1")).is_err());
        drop((more, places));
        assert_eq!(admission.connections(), 0);
        assert!(admission.lock().unknown.is_empty(), "nothing is remembered of who is gone");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let admission = admission();
        let places: Vec<_> =
            (0..3).map(|n| admission.admit(address(&format!("2001:db8::{n}:1"))).unwrap()).collect();
        assert!(admission.admit(address("2001:db8::ffff")).is_err());
        assert!(admission.admit(address("2001:db8:0:1::1")).is_ok());
        drop(places);
    }

    #[test]
    fn this_machine_has_more_places_and_all_have_an_end() {
        let admission = admission();
        let loopback: Vec<_> = (0..50).map(|_| admission.admit(address("127.0.0.1")).unwrap()).collect();
        assert!(matches!(admission.admit(address("127.0.0.1")), Err(Ending::CrowdedAddress(50))));
        let others: Vec<_> =
            (0..50).map(|n| admission.admit(address(&format!("10.0.0.{n}"))).unwrap()).collect();
        assert!(matches!(admission.admit(address("10.0.1.1")), Err(Ending::Crowded(100))));
        drop(loopback);
        assert!(admission.admit(address("10.0.1.1")).is_ok());
        drop(others);
    }

    #[test]
    fn the_limits_are_those_of_the_protocol() {
        let limits = Limits::default();
        assert_eq!(
            (limits.connections, limits.unknown_per_address, limits.unknown_loopback),
            (10_000, 64, 6_000)
        );
        assert_eq!((limits.greeting.as_secs(), limits.unknown.as_secs()), (10, 60));
        assert!(limits.recheck.as_secs() < 5);
    }
}
