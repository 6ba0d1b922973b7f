//! Where agents find the appliance: what it listens on, as other machines see it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The addresses of this machine's network interfaces.
pub(crate) fn own() -> Vec<IpAddr> {
    let networks = match sysinfo::Networks::new_with_refreshed_list() {
        Ok(networks) => networks,
        Err(error) => {
            tracing::warn!(%error, "cannot list the network interfaces");
            return Vec::new();
        }
    };
    let mut found: Vec<IpAddr> =
        networks.values().flat_map(|network| network.ip_networks()).map(|network| network.addr).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What other machines can connect to when this one listens on `listened`. An address that stands for all of them is
/// replaced by those of `own` that others can reach; if there are none, by loopback.
pub(crate) fn reachable(listened: &[String], own: &[IpAddr]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for listened in listened {
        let Some((port, is_v4)) = stands_for_all(listened) else {
            found.push(listened.clone());
            continue;
        };
        // Linux takes IPv4 connections on the IPv6 address for all, too.
        let heard = |address: &&IpAddr| is_reachable(address) && (!is_v4 || address.is_ipv4());
        let mut texts: Vec<_> =
            own.iter().filter(heard).map(|address| SocketAddr::new(*address, port).to_string()).collect();
        if texts.is_empty() {
            texts.push(format!("127.0.0.1:{port}"));
        }
        found.extend(texts);
    }
    let mut seen = BTreeSet::new();
    found.retain(|address| seen.insert(address.clone()));
    found.truncate(wire::token::ADDRESSES_MAX);
    found
}

/// The port of an address that stands for all of a machine's, and whether those are of IPv4 only.
fn stands_for_all(address: &str) -> Option<(u16, bool)> {
    let address: SocketAddr = address.parse().ok()?;
    address.ip().is_unspecified().then(|| (address.port(), address.is_ipv4()))
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local(),
        // A link-local address says nothing without the name of an interface, which differs on every machine.
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

/// Whether an address leads to this machine alone.
pub(crate) fn is_only_here(address: &str) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_for_all_becomes_those_that_others_reach() {
        let own: Vec<IpAddr> = ["127.0.0.1", "192.168.1.5", "169.254.3.4", "::1", "fe80::1", "2001:db8::5"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let reachable = |listened: &str| reachable(&[listened.to_owned()], &own);
        assert_eq!(reachable("0.0.0.0:7443"), ["192.168.1.5:7443"]);
        assert_eq!(reachable("[::]:7443"), ["192.168.1.5:7443", "[2001:db8::5]:7443"]);
        assert_eq!(reachable("127.0.0.1:7443"), ["127.0.0.1:7443"]);
        assert_eq!(reachable("backup.lan:7443"), ["backup.lan:7443"]);
        assert_eq!(super::reachable(&["0.0.0.0:1".into()], &own[..1]), ["127.0.0.1:1"]);
        let twice = ["0.0.0.0:7443".to_owned(), "192.168.1.5:7443".to_owned()];
        assert_eq!(super::reachable(&twice, &own), ["192.168.1.5:7443"]);
    }

    #[test]
    fn a_machine_with_many_addresses_gets_a_token_all_the_same() {
        let own: Vec<IpAddr> = (1..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(reachable(&["0.0.0.0:1".into()], &own).len(), wire::token::ADDRESSES_MAX);
    }

    #[test]
    fn loopback_is_only_here() {
        assert!(
            is_only_here("127.0.0.1:7443") && is_only_here("[::1]:7443") && is_only_here("localhost:7443")
        );
        assert!(!is_only_here("192.168.1.5:7443") && !is_only_here("backup.lan:7443"));
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(own().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
