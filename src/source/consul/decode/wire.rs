//! The shapes of Consul's JSON, as far as they are read. Null lists and maps, missing and unknown fields are normal there.
//! Nothing is judged here but the number of elements: an empty element takes more memory than bytes, so no list or table
//! may have more elements than anybody registers.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Checks, tags, pairs of Meta, addresses and ports of one instance, at most. Consul allows 64 pairs of Meta, and any
/// number of tags: the body of the answer has its own bound.
const MAX_ELEMENTS: usize = 4096;
/// Of all of a list or table together, as far as they are kept: 64 pairs of Meta are 41 KB.
const MAX_BYTES: usize = 1 << 20;

/// One element of `/v1/health/service/NAME`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node: Node,
    pub(crate) service: Service,
    #[serde(default, deserialize_with = "few")]
    pub(crate) checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node {
    #[serde(default, rename = "Node", deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) datacenter: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) partition: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) locality: Locality,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) peer_name: String,
    #[serde(default, deserialize_with = "few_pairs")]
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "few_pairs")]
    pub(crate) meta: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(default, rename = "Service", deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) create_index: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) port: i64,
    /// In place of `Port`, from Consul 1.22 on.
    #[serde(default, deserialize_with = "few")]
    pub(crate) ports: Vec<NamedPort>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) socket_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) locality: Locality,
    #[serde(default, deserialize_with = "few_pairs")]
    pub(crate) tagged_addresses: BTreeMap<String, Tagged>,
    #[serde(default, deserialize_with = "few")]
    pub(crate) tags: Vec<String>,
    #[serde(default, deserialize_with = "few_pairs")]
    pub(crate) meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) weights: Weights,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tagged {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) address: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NamedPort {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) port: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) default: bool,
}

/// From Consul 1.16 on (Enterprise).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Locality {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) zone: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) region: String,
}

/// Consul's own default is 1 and 1.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Weights {
    pub(crate) passing: i64,
    pub(crate) warning: i64,
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
pub(crate) struct Check {
    #[serde(default, rename = "CheckID", deserialize_with = "or_default")]
    pub(crate) id: String,
    #[serde(default, rename = "Status", deserialize_with = "or_default")]
    pub(crate) status: String,
    /// Empty: it is one of the node.
    #[serde(default, rename = "ServiceID", deserialize_with = "or_default")]
    pub(crate) service_id: String,
}

/// One element of `/v1/kv/KEY`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pair {
    #[serde(default)]
    pub(crate) key: String,
    /// Base64; null when empty.
    #[serde(default)]
    pub(crate) value: Option<String>,
}

/// Null is the default too.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What an element takes beside its own size.
pub(crate) trait Bytes {
    fn bytes(&self) -> usize;
}

impl Bytes for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Bytes for Check {
    fn bytes(&self) -> usize {
        self.id.len() + self.status.len() + self.service_id.len()
    }
}

impl Bytes for Tagged {
    fn bytes(&self) -> usize {
        self.address.len()
    }
}

impl Bytes for NamedPort {
    fn bytes(&self) -> usize {
        0
    }
}

/// How much of a list or table was read.
#[derive(Default)]
struct Bounds {
    elements: usize,
    bytes: usize,
}

impl Bounds {
    fn add<E: serde::de::Error>(&mut self, bytes: usize, most: (usize, usize)) -> Result<(), E> {
        self.elements += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.elements > most.0 {
            return Err(E::custom(format_args!("more than {} elements", most.0)));
        }
        if self.bytes > most.1 {
            return Err(E::custom(format_args!("more than {} bytes", most.1)));
        }
        Ok(())
    }
}

/// A list with a maximum number of elements and of bytes.
struct Few<T>(Vec<T>);

impl<'de, T: Deserialize<'de> + Bytes> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Counted::<T>(PhantomData)).map(Self)
    }
}

struct Counted<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Bytes> Visitor<'de> for Counted<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_ELEMENTS} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let (mut few, mut bounds) = (Vec::new(), Bounds::default());
        while let Some(one) = all.next_element::<T>()? {
            bounds.add(one.bytes(), (MAX_ELEMENTS, MAX_BYTES))?;
            few.push(one);
        }
        Ok(few)
    }
}

/// A table with a maximum number of pairs and of bytes.
pub(crate) struct FewPairs<T, const N: usize, const BYTES: usize>(pub(crate) BTreeMap<String, T>);

impl<'de, T, const N: usize, const BYTES: usize> Deserialize<'de> for FewPairs<T, N, BYTES>
where
    T: Deserialize<'de> + Bytes,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = CountedPairs::<T, N, BYTES>(PhantomData);
        deserializer.deserialize_map(pairs).map(Self)
    }
}

struct CountedPairs<T, const N: usize, const BYTES: usize>(PhantomData<T>);

impl<'de, T, const N: usize, const BYTES: usize> Visitor<'de> for CountedPairs<T, N, BYTES>
where
    T: Deserialize<'de> + Bytes,
{
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of at most {N} pairs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let (mut few, mut bounds) = (BTreeMap::new(), Bounds::default());
        while let Some((key, value)) = all.next_entry::<String, T>()? {
            bounds.add(key.len().saturating_add(value.bytes()), (N, BYTES))?;
            few.insert(key, value);
        }
        Ok(few)
    }
}

fn few<'de, D: Deserializer<'de>, T: Deserialize<'de> + Bytes>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let few = Option::<Few<T>>::deserialize(deserializer)?;
    Ok(few.map_or_else(Vec::new, |few| few.0))
}

fn few_pairs<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Bytes,
{
    let few = Option::<FewPairs<T, MAX_ELEMENTS, MAX_BYTES>>::deserialize(deserializer)?;
    Ok(few.map_or_else(BTreeMap::new, |few| few.0))
}

/// The identity of an entry that cannot be read as a whole; anything but text counts as missing.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Who {
    #[serde(default, rename = "Service", deserialize_with = "or_nothing")]
    pub(crate) service: WhoService,
    #[serde(default, rename = "Node", deserialize_with = "or_nothing")]
    pub(crate) node: WhoNode,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct WhoService {
    #[serde(default, rename = "ID", deserialize_with = "or_nothing")]
    pub(crate) id: Text,
    #[serde(default, rename = "Service", deserialize_with = "or_nothing")]
    pub(crate) name: Text,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct WhoNode {
    #[serde(default, rename = "Node", deserialize_with = "or_nothing")]
    pub(crate) name: Text,
}

/// Text, where it is one.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Text(pub(crate) String);

/// Skips a value of another kind.
fn or_nothing<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}
