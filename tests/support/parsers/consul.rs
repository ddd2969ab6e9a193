//! Answers of Consul.

use serde_json::{Value, json};
use xds_bridge::config::ConsulSelection;
use xds_bridge::model::service::check_name;
use xds_bridge::source::consul::{document, health, named, services};

/// `/v1/catalog/services`
pub(crate) fn consul_catalog(body: &[u8]) {
    let selection = ConsulSelection::default();
    let Ok(found) = services(body, &selection) else {
        return;
    };
    for name in &found.names {
        check_name(name).unwrap();
    }
    super::told(&found.stray, 101, &[body]);
    if let Ok(Value::Object(mut all)) = serde_json::from_slice(body) {
        all.insert("a//zz\n".to_owned(), json!(null));
        let more = services(Value::Object(all).to_string().as_bytes(), &selection).unwrap();
        assert_eq!((more.names, more.canary), (found.names, found.canary));
    }
}

/// `/v1/health/service/NAME`
pub(crate) fn consul_health(body: &[u8]) {
    let selection = ConsulSelection::default();
    let Ok(found) = health("orders", body, &selection) else {
        return;
    };
    if let Some(record) = &found.record {
        for instance in &record.instances {
            super::can_be_served(instance);
        }
        assert!(record.instances.is_sorted_by_key(|instance| &instance.id));
        super::told(&record.issues, 101, &[body]);
    }
    let Ok(Value::Array(mut entries)) = serde_json::from_slice(body) else {
        return;
    };
    let same = |entries: &[Value]| {
        let again = health("orders", json!(entries).to_string().as_bytes(), &selection).unwrap();
        assert_eq!(
            super::sorted(again.record.as_deref()),
            super::sorted(found.record.as_deref())
        );
        assert!(found.ids.is_subset(&again.ids) || found.ids.iter().any(|id| id.starts_with('#')));
    };
    entries.reverse();
    same(&entries);
    for bad in [
        json!(7),
        json!({"Service": {"ID": "zz", "Port": "x".repeat(200)}}),
        json!({"Service": {"ID": "zz"}}),
    ] {
        entries.push(bad);
        same(&entries);
    }
}

/// `/v1/kv/xds/?keys`
pub(crate) fn consul_keys(body: &[u8]) {
    let Ok(found) = named(body) else {
        return;
    };
    for name in &found {
        check_name(name).unwrap();
    }
    if let Ok(mut keys) = serde_json::from_slice::<Vec<String>>(body) {
        keys.push("xds/../policy".to_owned());
        assert_eq!(named(json!(keys).to_string().as_bytes()).unwrap(), found);
    }
}

/// `/v1/kv/xds/orders/policy`: a whole body, or the document in one.
pub(crate) fn consul_policy(input: &[u8]) {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::STANDARD.encode(input);
    let wrapped = json!([{"Key": "xds/orders/policy", "Value": value}]).to_string();
    for body in [input, wrapped.as_bytes()] {
        let found = document("orders", body);
        assert!(!(found.unread && found.policy.is_some()));
        if let Some(policy) = &found.policy {
            assert!(policy.routes.len() <= 64);
        }
        super::told(&found.issues, 18, &[input]);
    }
}
