//! The one place that knows all kinds of sources.

use super::consul::{self, ConsulWatcher};
use super::etcd::{self, EtcdWatcher};
use super::file::FileWatcher;
use super::{Budget, Source};
use crate::config::SourceConfig;
use crate::registry::etcd::Members;
use crate::registry::store::Store;

/// The source of this section of `bridge.toml`; opens and connects to nothing before it runs. `budget` bounds what
/// all sources hold together.
#[must_use]
pub fn build(config: &SourceConfig, budget: &Budget) -> Box<dyn Source> {
    match config {
        SourceConfig::File(file) => Box::new(FileWatcher::new(file)),
        SourceConfig::Etcd(etcd) => Box::new(EtcdWatcher::new(etcd).within(budget.clone())),
        SourceConfig::Consul(consul) => Box::new(ConsulWatcher::new(consul).within(budget.clone())),
    }
}

/// The keys that bridges share below `root` in the registry of this section, by its addresses, certificates and rights.
/// Connects to nothing yet; blocks on a disk for certificates.
///
/// # Errors
/// Why there is none: files of TLS that cannot be used (yet), or no registry at all.
pub fn store(config: &SourceConfig, root: &str, budget: &Budget) -> Result<Store, String> {
    match config {
        SourceConfig::File(_) => Err("a folder of files is no registry".to_owned()),
        SourceConfig::Etcd(config) => {
            let members = Members::new(&config.endpoints, etcd::access(config), budget.clone());
            Ok(Store::in_etcd(members, root))
        }
        SourceConfig::Consul(config) => {
            let slack = consul::Timing::default().slack;
            let client = consul::client(config, slack, budget).map_err(|error| error.chain())?;
            Ok(Store::in_consul(client, root))
        }
    }
}
