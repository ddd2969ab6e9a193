//! The instances of one service in all sources, each address once. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::Standing;
use crate::model::instance::Instance;

/// Instances that are served, and where some of them stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Union {
    /// In the order of their addresses.
    pub(super) instances: Vec<Instance>,
    /// The priority of the source, where it is above 0.
    pub(super) behind: BTreeMap<SocketAddr, u32>,
    /// Those that no source lists.
    pub(super) withheld: BTreeMap<SocketAddr, Standing>,
}

/// What one source says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) priority: u32,
    pub(super) instances: &'a [Instance],
    /// Those that it no longer lists.
    pub(super) withheld: &'a BTreeMap<SocketAddr, Standing>,
}

/// Of the parts, the strongest first: of one address the first instance counts.
pub(super) fn union(parts: &[Part<'_>]) -> Union {
    let mut all: Vec<(SocketAddr, usize, usize)> = Vec::new();
    for (nth, part) in parts.iter().enumerate() {
        let instances = part.instances.iter().enumerate();
        all.extend(instances.map(|(at, instance)| (instance.address, nth, at)));
    }
    all.sort_unstable();
    let mut union = Union {
        instances: Vec::with_capacity(all.len()),
        ..Union::default()
    };
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        let (address, nth, at) = same[0];
        let part = &parts[nth];
        union.instances.push(part.instances[at].clone());
        if part.priority > 0 {
            union.behind.insert(address, part.priority);
        }
        if let Some(standing) = part.withheld.get(&address)
            && same
                .iter()
                .all(|(_, nth, _)| parts[*nth].withheld.contains_key(&address))
        {
            union.withheld.insert(address, *standing);
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The same, one after the other.
    fn plain(parts: &[Part<'_>]) -> Union {
        let mut by_address: BTreeMap<SocketAddr, &Instance> = BTreeMap::new();
        let mut union = Union::default();
        for part in parts {
            for instance in part.instances {
                let address = instance.address;
                let new = !by_address.contains_key(&address);
                match part.withheld.get(&address) {
                    None => drop(union.withheld.remove(&address)), // some source lists it
                    Some(standing) if new => drop(union.withheld.insert(address, *standing)),
                    Some(_) => {}
                }
                by_address.entry(address).or_insert(instance);
                if new && part.priority > 0 {
                    union.behind.insert(address, part.priority);
                }
            }
        }
        union.instances = by_address.into_values().cloned().collect();
        union
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        let four = (0..3_u8, 1..3_u16).prop_map(|(host, port)| ([10, 0, 0, host], port).into());
        let six =
            (0..2_u16, 1..3_u16).prop_map(|(host, port)| ([0xfd00, 0, 0, 0, 0, 0, 0, host], port).into());
        prop_oneof![four, six]
    }

    type Said = (u32, Vec<Instance>, BTreeMap<SocketAddr, Standing>);

    fn said() -> impl Strategy<Value = Said> {
        let standing = prop_oneof![Just(Standing::Alive), Just(Standing::Unknown)];
        let instance =
            (address(), 0..100_u8).prop_map(|(address, id)| Instance::new(id.to_string(), address));
        let withheld = vec((address(), standing), 0..4).prop_map(|all| all.into_iter().collect());
        (0..3_u32, vec(instance, 0..8), withheld)
    }

    proptest! {
        #[test]
        fn it_is_what_adding_one_after_the_other_gives(said in vec(said(), 0..4)) {
            let parts: Vec<Part<'_>> = said
                .iter()
                .map(|(priority, instances, withheld)| Part { priority: *priority, instances, withheld })
                .collect();
            prop_assert_eq!(union(&parts), plain(&parts));
        }
    }
}
