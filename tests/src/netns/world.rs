//! A hub and regions around it.

use super::line::Conditions;
use super::link::Link;
use super::namespace::Namespace;
use std::net::Ipv4Addr;

/// The hub, from everywhere.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A hub, and regions that reach it, and each other through it.
pub struct World {
    // Before the hub: a link that ends after one of its ends has nowhere to carry frames to.
    regions: Vec<Region>,
    pub hub: Namespace,
}

/// A region and its link.
struct Region {
    link: Link,
    inside: Namespace,
}

impl World {
    /// So many regions, each link with these conditions both ways.
    pub fn new(regions: u8, conditions: Conditions) -> Self {
        let hub = Namespace::new();
        hub.ip(&format!("address add {HUB}/32 dev lo"));
        hub.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("a hub forwards");
        let regions = (1..=regions).map(|number| Region::beside(&hub, number, conditions)).collect();
        Self { hub, regions }
    }

    /// A region, from 0.
    pub fn region(&self, place: usize) -> &Namespace {
        &self.regions[place].inside
    }

    /// Its link to the hub.
    pub fn link(&self, place: usize) -> &Link {
        &self.regions[place].link
    }

    /// The address of a region, from everywhere.
    pub fn address_of(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, place as u8 + 1, 2)
    }
}

impl Region {
    fn beside(hub: &Namespace, number: u8, conditions: Conditions) -> Self {
        let (inside, between) = (Namespace::new(), Namespace::new());
        let far_end = format!("hub{number}");
        inside.ip(&format!("link add eth0 type veth peer name region netns {}", between.path()));
        hub.ip(&format!("link add {far_end} type veth peer name hub netns {}", between.path()));
        for (namespace, interface, host) in [(&inside, "eth0", 2), (hub, far_end.as_str(), 1)] {
            // One segment a frame: a link carries what a wire would.
            namespace.ip(&format!("link set {interface} gso_max_segs 1"));
            namespace.ip(&format!("address add 10.77.{number}.{host}/24 dev {interface}"));
        }
        let link = Link::between(between, conditions);
        link.bring_up();
        hub.ip(&format!("link set {far_end} up"));
        inside.ip("link set eth0 up");
        inside.ip(&format!("route add default via 10.77.{number}.1"));
        Self { inside, link }
    }
}
