//! The shapes of Consul's JSON, as far as they are read. Null lists and maps, missing and
//! unknown fields are normal there; nothing is judged here.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// One element of `/v1/health/service/NAME`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) node: Node,
    pub(super) service: Service,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Node {
    #[serde(default, rename = "Node", deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) datacenter: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) partition: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) locality: Locality,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) peer_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tagged_addresses: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) meta: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default, rename = "Service", deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) create_index: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) port: i64,
    /// In place of `Port`, from Consul 1.22 on.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ports: Vec<NamedPort>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) socket_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) locality: Locality,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tagged_addresses: BTreeMap<String, Tagged>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) weights: Weights,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagged {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamedPort {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) port: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) default: bool,
}

/// From Consul 1.16 on (Enterprise).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Locality {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) zone: String,
}

/// Consul's own default is 1 and 1.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Weights {
    pub(super) passing: i64,
    pub(super) warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            passing: 1,
            warning: 1,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Check {
    #[serde(default, rename = "CheckID", deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(default, rename = "Status", deserialize_with = "or_default")]
    pub(super) status: String,
}

/// One element of `/v1/kv/KEY`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pair {
    #[serde(default)]
    pub(super) key: String,
    /// Base64; null when empty.
    #[serde(default)]
    pub(super) value: Option<String>,
}

/// Null is the default too.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
