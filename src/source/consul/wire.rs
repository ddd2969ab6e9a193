//! The shapes of Consul's JSON, as far as they are read. Null lists and maps, missing and
//! unknown fields are normal there; nothing is judged here, but that an empty element takes more memory than
//! bytes: no list or table has more elements than anybody registers.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Checks, tags, pairs of Meta, addresses and ports of one instance. Consul allows 64 pairs of Meta, and any number of
/// tags: the body of the answer has its own bound.
const MOST: usize = 4096;

/// One element of `/v1/health/service/NAME`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) node: Node,
    pub(super) service: Service,
    #[serde(default, deserialize_with = "few")]
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
    #[serde(default, deserialize_with = "few_pairs")]
    pub(super) tagged_addresses: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "few_pairs")]
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
    #[serde(default, deserialize_with = "few")]
    pub(super) ports: Vec<NamedPort>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) socket_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) locality: Locality,
    #[serde(default, deserialize_with = "few_pairs")]
    pub(super) tagged_addresses: BTreeMap<String, Tagged>,
    #[serde(default, deserialize_with = "few")]
    pub(super) tags: Vec<String>,
    #[serde(default, deserialize_with = "few_pairs")]
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

/// A list of at most so many elements.
pub(super) struct Few<T, const N: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Few<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_seq(Counted::<T, N>(PhantomData))
            .map(Self)
    }
}

struct Counted<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Counted<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut few = Vec::new();
        while few.len() < N {
            match all.next_element()? {
                Some(one) => few.push(one),
                None => return Ok(few),
            }
        }
        match all.next_element::<IgnoredAny>()? {
            None => Ok(few),
            Some(_) => Err(A::Error::custom(format_args!("more than {N} elements"))),
        }
    }
}

/// A table of at most so many pairs.
pub(super) struct FewPairs<T, const N: usize>(pub(super) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for FewPairs<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(CountedPairs::<T, N>(PhantomData))
            .map(Self)
    }
}

struct CountedPairs<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for CountedPairs<T, N> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of at most {N} pairs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut few = BTreeMap::new();
        while let Some((key, value)) = all.next_entry()? {
            few.insert(key, value);
            if few.len() > N {
                return Err(A::Error::custom(format_args!("more than {N} pairs")));
            }
        }
        Ok(few)
    }
}

fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let few = Option::<Few<T, MOST>>::deserialize(deserializer)?;
    Ok(few.map_or_else(Vec::new, |few| few.0))
}

fn few_pairs<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let few = Option::<FewPairs<T, MOST>>::deserialize(deserializer)?;
    Ok(few.map_or_else(BTreeMap::new, |few| few.0))
}

/// Who an entry is that cannot be read as a whole; what is no text counts as missing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Who {
    #[serde(default, rename = "Service", deserialize_with = "or_nothing")]
    pub(super) service: WhoService,
    #[serde(default, rename = "Node", deserialize_with = "or_nothing")]
    pub(super) node: WhoNode,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WhoService {
    #[serde(default, rename = "ID", deserialize_with = "or_nothing")]
    pub(super) id: Text,
    #[serde(default, rename = "Service", deserialize_with = "or_nothing")]
    pub(super) name: Text,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WhoNode {
    #[serde(default, rename = "Node", deserialize_with = "or_nothing")]
    pub(super) name: Text,
}

/// Text, where it is one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Text(pub(super) String);

/// What is of another kind, as if it were not there.
fn or_nothing<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}
