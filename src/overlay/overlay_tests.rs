//! What is laid over a cluster or a listener, and what does not fit.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use prost::Message as _;

use super::*;
use crate::xds::Reach;

fn overlays(all: &[(Overlaid, &str, &str)]) -> Overlays {
    let one = |(of, name, json): &(Overlaid, &str, &str)| Overlay {
        of: *of,
        name: (*name).to_owned(),
        json: (*json).to_owned(),
    };
    Overlays::new(&all.iter().map(one).collect::<Vec<_>>())
}

fn cluster(name: &str) -> Draft {
    let cluster = Cluster {
        name: name.to_owned(),
        alt_stat_name: "made".to_owned(),
        ..Cluster::default()
    };
    Draft {
        kind: Kind::Cluster,
        name: name.into(),
        body: cluster.encode_to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    }
}

fn body(overlays: &mut Overlays, draft: Draft) -> Vec<u8> {
    match overlays.lay(Update::Put(draft)) {
        Update::Put(draft) => draft.body,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_laid_over_by_name_and_in_order() {
    let mut overlays = overlays(&[
        (
            Overlaid::Cluster,
            "or*",
            r#"{"connect_timeout": "3s", "alt_stat_name": null}"#,
        ),
        (Overlaid::Cluster, "orders", r#"{"connect_timeout": "4s"}"#),
        (Overlaid::Cluster, "stock", r#"{"connect_timeout": "9s"}"#),
        (Overlaid::Listener, "orders", r#"{"stat_prefix": "x"}"#),
    ]);
    let laid = Cluster::decode(&*body(&mut overlays, cluster("orders"))).unwrap();
    assert_eq!(laid.connect_timeout.map(|time| time.seconds), Some(4));
    let laid = Cluster::decode(&*body(&mut overlays, cluster("orchard"))).unwrap();
    assert_eq!(
        (laid.connect_timeout.map(|t| t.seconds), &*laid.alt_stat_name),
        (Some(3), "")
    );
    assert_eq!(body(&mut overlays, cluster("web")), cluster("web").body);
}

#[test]
fn what_does_not_fit_costs_the_overlay_and_names_the_place() {
    for (json, place) in [
        (r#"{"conect_timeout": "3s"}"#, "conect_timeout"),
        (r#"{"connect_timeout": "soon"}"#, "connect_timeout"),
        (
            r#"{"outlier_detection": {"interval": 3}}"#,
            "outlier_detection.interval",
        ),
        (r#"{"lb_policy": "FASTEST"}"#, "lb_policy"),
        (r#"{"name": "other"}"#, "`name` cannot be another"),
        (
            r#"{"transport_socket": {"name": "x", "typed_config": {"@type": "type.googleapis.com/nope"}}}"#,
            "transport_socket.typed_config",
        ),
    ] {
        let mut overlays = overlays(&[(Overlaid::Cluster, "orders", json)]);
        assert_eq!(body(&mut overlays, cluster("orders")), cluster("orders").body);
        assert!(overlays.take_news());
        let issues: Vec<String> = overlays.issues().map(|issue| issue.reason.clone()).collect();
        assert!(
            issues.len() == 1 && issues[0].contains(place),
            "{json}: {issues:?}"
        );
        // The same again is no news; when the resource goes the issue goes.
        body(&mut overlays, cluster("orders"));
        assert!(!overlays.take_news());
        let _ = overlays.lay(Update::Remove(Kind::Cluster, "orders".into()));
        assert!(overlays.take_news() && overlays.issues().next().is_none());
    }
}

#[test]
fn equal_content_is_equal_bytes_whatever_maps_are_in_it() {
    let entries: Vec<String> = (0..20)
        .map(|n| format!(r#""key.{n}": {{"a": {n}, "b": "x", "c": [{{"z": 1, "y": 2}}]}}"#))
        .collect();
    let json = format!(
        r#"{{"metadata": {{"filter_metadata": {{{0}}}, "typed_filter_metadata": {{"one": {{"@type":
        "type.googleapis.com/google.protobuf.Struct", "value": {{{0}}}}}}}}}}}"#,
        entries.join(",")
    );
    let mut overlays = overlays(&[(Overlaid::Cluster, "orders", &json)]);
    let first = body(&mut overlays, cluster("orders"));
    assert!(
        overlays.issues().next().is_none(),
        "{:?}",
        overlays.issues().collect::<Vec<_>>()
    );
    for _ in 0..20 {
        assert_eq!(body(&mut overlays, cluster("orders")), first);
    }
    let read = Cluster::decode(&*first).unwrap();
    assert_eq!(
        read.metadata
            .map(|m| (m.filter_metadata.len(), m.typed_filter_metadata.len())),
        Some((20, 1))
    );
}
