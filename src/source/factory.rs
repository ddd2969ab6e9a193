//! The one place that knows all kinds of sources.

use super::consul::ConsulWatcher;
use super::etcd::EtcdWatcher;
use super::file::FileWatcher;
use super::{Budget, Source};
use crate::config::SourceConfig;

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
