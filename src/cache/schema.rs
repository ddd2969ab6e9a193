//! What a last known state looks like on disk. These types are the file's own: those of the model change with the
//! bridge, and a file is to be read by the version after the one that wrote it. Pure.
//!
//! Keys are written as they are declared (`"route-2": "path=/a timeout=2s"`) and read by the table of keys, so a new
//! key is no new format. One that this version does not know, or whose value it cannot read, costs itself only.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::declaration;
use crate::model::{self, Declared, InstanceKeys, Policy, ServiceRecord, Spelling};

/// Changes with the shape of what is written. The format before is read as well: [`super::format2`].
pub(super) const FORMAT: u32 = 3;

/// What one source says of one service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    instances: Vec<Instance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Keys>,
}

/// One server process.
#[derive(Debug, Serialize, Deserialize)]
struct Instance {
    id: Arc<str>,
    address: SocketAddr,
    health: Health,
    weight: u32,
    #[serde(default)]
    zone: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    region: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    node: Arc<str>,
    #[serde(default)]
    version: Arc<str>,
    #[serde(default, skip_serializing_if = "Keys::is_empty")]
    policy: Keys,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<Own>,
    #[serde(default, skip_serializing_if = "is_zero")]
    created: u64,
}

/// What it declares of itself, and what its registry says.
#[derive(Debug, Serialize, Deserialize)]
struct Own {
    #[serde(default, skip_serializing_if = "Keys::is_empty")]
    keys: Keys,
    health: Health,
    weight: u32,
    #[serde(default)]
    zone: Arc<str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    region: Arc<str>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    Healthy,
    Draining,
    Unhealthy,
    Off,
}

/// Declared keys, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Keys(BTreeMap<String, String>);

/// Policies that were read before: most instances of a service declare the same.
pub(super) type Known = HashMap<Keys, Arc<Policy>>;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(created: &u64) -> bool {
    *created == 0
}

impl Record {
    /// What is written of a record.
    pub(super) fn of(record: &ServiceRecord) -> Self {
        Self {
            instances: record.instances.iter().map(Instance::of).collect(),
            policy: record.policy.as_ref().map(Keys::of_service),
        }
    }

    /// The record as it was.
    pub(super) fn read(self, known: &mut Known) -> ServiceRecord {
        let instances = self.instances.into_iter();
        ServiceRecord {
            instances: instances.map(|instance| instance.read(known)).collect(),
            policy: self.policy.map(|keys| keys.policy()),
            ..ServiceRecord::default()
        }
    }
}

impl Instance {
    fn of(instance: &model::Instance) -> Self {
        Self {
            id: instance.id.clone(),
            address: instance.address,
            health: instance.health.into(),
            weight: instance.weight,
            zone: instance.zone.clone(),
            region: instance.region.clone(),
            node: instance.node.clone(),
            version: instance.version.clone(),
            policy: Keys::of_service(&instance.policy),
            own: instance.own.as_deref().map(|own| Own {
                keys: Keys::of_instance(&own.declared),
                health: own.health.into(),
                weight: own.registered_weight,
                zone: own.registered_zone.clone(),
                region: own.registered_region.clone(),
            }),
            created: instance.created,
        }
    }

    fn read(self, known: &mut Known) -> model::Instance {
        let mut instance = model::Instance::new(self.id, self.address);
        instance.health = self.health.into();
        instance.weight = self.weight;
        instance.zone = self.zone;
        instance.region = self.region;
        instance.node = self.node;
        instance.version = self.version;
        instance.policy = match known.get(&self.policy) {
            Some(policy) => policy.clone(),
            None => {
                let policy = Arc::new(self.policy.policy());
                known.insert(self.policy, policy.clone());
                policy
            }
        };
        instance.own = self.own.map(|own| {
            Arc::new(model::Own {
                declared: own.keys.instance(),
                health: own.health.into(),
                registered_weight: own.weight,
                registered_zone: own.zone,
                registered_region: own.region,
            })
        });
        instance.created = self.created;
        instance
    }
}

impl Keys {
    /// The keys of a policy.
    pub(super) fn of_service(policy: &Policy) -> Self {
        let pairs = policy.keys().into_iter();
        Self(
            pairs
                .filter_map(|key| Some((key.to_string(), policy.shown(key)?)))
                .collect(),
        )
    }

    /// The keys of an instance.
    pub(super) fn of_instance(keys: &InstanceKeys) -> Self {
        let pairs = keys.keys().into_iter();
        Self(
            pairs
                .filter_map(|key| Some((key.to_string(), keys.shown(key)?)))
                .collect(),
        )
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policy that they declare.
    pub(super) fn policy(&self) -> Policy {
        let mut policy = self.read().policy;
        policy.slips.clear();
        policy
    }

    /// What they declare of an instance.
    pub(super) fn instance(&self) -> InstanceKeys {
        let mut keys = self.read().instance;
        keys.slips.clear();
        keys
    }

    fn read(&self) -> Declared {
        let pairs = self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        declaration::parse("", Spelling::Saved, pairs, &mut Vec::new())
    }
}

impl From<model::Health> for Health {
    fn from(health: model::Health) -> Self {
        match health {
            model::Health::Healthy => Self::Healthy,
            model::Health::Draining => Self::Draining,
            model::Health::Unhealthy => Self::Unhealthy,
            model::Health::Off => Self::Off,
        }
    }
}

impl From<Health> for model::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Healthy,
            Health::Draining => Self::Draining,
            Health::Unhealthy => Self::Unhealthy,
            Health::Off => Self::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        Keys(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    /// A file of another version: what this one cannot read costs itself only.
    #[test]
    fn a_key_of_another_version_leaves_the_others() {
        let mut all = vec![("protocol", "grpc"), ("timeout", "1.5s"), ("route-3", "path=/a")];
        let known = keys(&all).policy();
        assert_eq!(known.keys().len(), 3);
        all.extend([
            ("colour", "red"),
            ("flavour", "10%"),
            ("expose", "!"),
            ("route-4", "path=/b when=noon"),
        ]);
        assert_eq!(keys(&all).policy(), known);
        let instance = keys(&[("weight", "7"), ("mood", "good"), ("state", "asleep")]).instance();
        let wanted = InstanceKeys {
            weight: Some(7),
            ..InstanceKeys::default()
        };
        assert_eq!(instance, wanted);
    }
}
