//! What clients of a place get, as Envoy and as gRPC's own clients read it.

use std::fmt::Write as _;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use expect_test::expect;
use prost::Message as _;

use super::*;
use crate::model::{Facts, Health};

/// `eu/a hhu` a place: healthy, draining, unhealthy; a capital stands in a source behind.
fn service(places: &[(&str, &str)]) -> Arc<Service> {
    let mut service = Service {
        name: "orders".into(),
        ..Service::default()
    };
    let mut ports = 1..;
    for (place, healths) in places {
        let (region, zone) = place.split_once('/').unwrap();
        for letter in healths.chars() {
            let port = ports.next().unwrap();
            let instance = Instance::from(Facts {
                health: match letter.to_ascii_lowercase() {
                    'h' => Health::Healthy,
                    'd' => Health::Draining,
                    _ => Health::Unhealthy,
                },
                region: region.into(),
                zone: zone.into(),
                ..Facts::new(port.to_string(), ([127, 0, 0, 1], port).into())
            });
            if letter.is_ascii_uppercase() {
                service.behind.insert(instance.address, 1);
            }
            service.instances.push(instance);
        }
    }
    Arc::new(service)
}

/// `priority region/zone/sub-zone weight: number of endpoints` a line, and the factor.
fn seen(service: &Arc<Service>, place: (&str, &str), client: Client, share: u32) -> String {
    let near = Near {
        service: service.clone(),
        on_all_unhealthy: OnAllUnhealthy::Open,
        all: false,
        share,
    };
    let assignment = ClusterLoadAssignment::decode(&*near.body_for(place, client)).unwrap();
    let mut text = String::new();
    let mut addresses = 0;
    for group in &assignment.endpoints {
        let at = group.locality.as_ref().unwrap();
        let weight = group.load_balancing_weight.unwrap().value;
        let endpoints = group.lb_endpoints.len();
        let has_address = |e: &&envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint| {
            matches!(e.host_identifier, Some(HostIdentifier::Endpoint(_)))
        };
        addresses += group.lb_endpoints.iter().filter(has_address).count();
        let place = format!("{}/{}/{}", at.region, at.zone, at.sub_zone);
        let place = place.trim_end_matches('/');
        let _ = writeln!(text, "{} {place} {weight}: {endpoints}", group.priority);
    }
    assert!(client == Client::Tonic || addresses == service.instances.len());
    if let Some(factor) = assignment.policy.and_then(|p| p.overprovisioning_factor) {
        let _ = writeln!(text, "factor {}", factor.value);
    }
    text
}

const WORLD: [(&str, &str); 4] = [("eu/a", "hh"), ("eu/b", "h"), ("us/a", "hhh"), ("us/c", "h")];

#[test]
fn the_own_zone_comes_first_then_the_region_then_the_rest() {
    let world = service(&WORLD);
    let of = |place| seen(&world, place, Client::Envoy, 71);
    expect![[r#"
        0 eu/a 2: 2
        1 eu/b 1: 1
        2 us/a 3: 3
        2 us/c 1: 1
    "#]]
    .assert_eq(&of(("eu", "a")));
    expect![[r#"
        0 us/a 3: 3
        0 us/c 1: 1
        1 eu/a 2: 2
        1 eu/b 1: 1
    "#]]
    .assert_eq(&of(("us", "x")));
    // Without a region, a zone of that name is the own one wherever it is.
    expect![[r#"
        0 eu/a 2: 2
        0 us/a 3: 3
        1 eu/b 1: 1
        1 us/c 1: 1
    "#]]
    .assert_eq(&of(("", "a")));
    assert_eq!(
        of(("eu", "a")),
        seen(&world, ("eu", "a"), Client::Grpc, 71),
        "all are healthy"
    );
}

#[test]
fn the_priority_of_a_source_comes_before_what_is_near() {
    let two = service(&[("eu/a", "HH"), ("us/a", "hh")]);
    let wanted = expect![[r#"
        0 us/a 2: 2
        1 eu/a/priority-1 2: 2
    "#]];
    for client in [Client::Envoy, Client::Grpc] {
        wanted.assert_eq(&seen(&two, ("eu", "a"), client, 71));
    }
}

#[test]
fn envoy_is_given_the_threshold_and_grpc_the_shares() {
    // Half of the zone is healthy: 50 % of 71 % is a share of 70.4 %.
    let half = service(&[("eu/a", "huhu"), ("eu/b", "hh"), ("eu/c", "h"), ("us/a", "h")]);
    let of = |client, share| seen(&half, ("eu", "a"), client, share);
    let envoy = of(Client::Envoy, 71);
    assert!(!envoy.contains("factor"), "Envoy's own: {envoy}");
    assert!(of(Client::Envoy, 100).ends_with("factor 100\n"));
    assert!(of(Client::Envoy, 50).ends_with("factor 200\n"));
    for client in [Client::Grpc, Client::GrpcDrops] {
        expect![[r#"
            0 eu/a 704225: 4
            0 eu/b 197183: 2
            0 eu/c 98591: 1
            1 us/a 1: 1
        "#]]
        .assert_eq(&of(client, 71));
        expect![[r#"
            0 eu/a 2: 4
            1 eu/b 2: 2
            1 eu/c 1: 1
            2 us/a 1: 1
        "#]]
        .assert_eq(&of(client, 50));
    }
    expect![[r#"
        0 eu/a 704225: 4
        0 eu/b 197183: 2
        0 eu/c 98591: 1
    "#]]
    .assert_eq(&of(Client::Tonic, 71));
}

#[test]
fn who_drains_counts_on_neither_side_and_a_zone_without_a_healthy_one_gets_next_to_nothing() {
    let draining = service(&[("eu/a", "hddd"), ("eu/b", "h")]);
    expect![[r#"
        0 eu/a 1: 4
        1 eu/b 1: 1
    "#]]
    .assert_eq(&seen(&draining, ("eu", "a"), Client::Grpc, 71));
    let sick = service(&[("eu/a", "uu"), ("eu/b", "hh"), ("us/a", "h")]);
    expect![[r#"
        0 eu/a 1: 2
        0 eu/b 1000000: 2
        1 us/a 1: 1
    "#]]
    .assert_eq(&seen(&sick, ("eu", "a"), Client::Grpc, 71));
    // Too few everywhere: what is healthy shares by how much it is.
    let few = service(&[("eu/a", "huuuuuuuuu"), ("us/a", "huuuuuuuuu")]);
    expect![[r#"
        0 eu/a 140845: 10
        0 us/a 140845: 10
    "#]]
    .assert_eq(&seen(&few, ("eu", "a"), Client::Grpc, 71));
}

#[test]
fn what_the_contents_depend_on_changes_their_inputs() {
    let inputs = |places: &[(&str, &str)], rule| {
        let near = near(&service(places), OnAllUnhealthy::Open, rule, false);
        near.unwrap().inputs()
    };
    let prefer = LocalityRule::PREFER;
    let known = inputs(&WORLD, prefer);
    assert_eq!(known, inputs(&WORLD, prefer));
    let mut other = WORLD;
    other[0].0 = "us/a";
    assert_ne!(known, inputs(&other, prefer), "a region");
    other = WORLD;
    other[0].1 = "hu";
    assert_ne!(known, inputs(&other, prefer), "health");
    assert_ne!(known, inputs(&WORLD, LocalityRule::Prefer(50)), "the threshold");
    assert!(near(&service(&WORLD), OnAllUnhealthy::Open, LocalityRule::Off, false).is_none());
}
