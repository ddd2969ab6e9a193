//! What no registry knows.

use super::*;
use crate::model::{Dns, External, RouteRule};

fn external(addresses: &[(&str, u16)], route: &str) -> External {
    let addresses = addresses.iter().map(|(host, port)| ((*host).to_owned(), *port));
    External {
        policy: Policy {
            routes: [(1, RouteRule::parse(route).unwrap())].into(),
            ..Policy::default()
        },
        addresses: addresses.collect(),
        dns: Some(Dns::Strict),
    }
}

fn with(externals: &[(&str, External)]) -> Network {
    let externals = externals
        .iter()
        .map(|(name, external)| ((*name).into(), external.clone()));
    Network {
        externals: externals.collect(),
        ..network()
    }
}

#[test]
fn it_is_published_with_the_first_generation_and_goes_with_its_section() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let maps = external(&[("maps.test", 80)], "host=maps path=/");
    let mut builder = Builder::new(with(&[("maps", maps)]));
    let touched = catalog.apply(event("a", Some(1)), Duration::ZERO);
    let first = builder.build(&catalog, &touched.services, Duration::ZERO);
    assert_eq!(
        kinds(&first),
        ["+cds a", "+eds a", "+cds maps", "+rds internal"],
        "without endpoints of its own"
    );
    let network = Arc::new(network());
    builder.planner.set_network(network.clone());
    builder.translator.set_network(network);
    let after = builder.build(&catalog, &BTreeSet::new(), Duration::ZERO);
    assert!(
        kinds(&after).contains(&"-cds maps".to_owned()),
        "{:?}",
        kinds(&after)
    );
}

#[test]
fn its_name_is_not_to_be_had_by_registering_it() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let maps = external(&[("maps.test", 80)], "host=maps path=/");
    let mut builder = Builder::new(with(&[("maps", maps)]));
    let touched = catalog.apply(event("maps", Some(1)), Duration::ZERO);
    let updates = builder.build(&catalog, &touched.services, Duration::ZERO);
    assert_eq!(kinds(&updates), ["+cds maps", "+rds internal"]);
    let issues: Vec<&str> = builder.issues().map(|issue| issue.reason.as_str()).collect();
    assert!(issues[0].contains("[external]"), "{issues:?}");
}

#[test]
fn without_addresses_it_has_routes_only() {
    let catalog = Catalog::new([("s".into(), None)]);
    let gone = external(&[], "host=old.test path=/ respond=410");
    let mut builder = Builder::new(with(&[("old", gone)]));
    let steps = builder.planner.plan(&catalog, &BTreeSet::new(), Duration::ZERO);
    let [Step::Host { host, claims, .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(
        (&**host, claims.len(), claims[0].documented),
        ("old.test", 1, true)
    );
}
