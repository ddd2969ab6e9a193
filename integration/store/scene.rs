//! A store of each kind: an etcd, a Consul, or a file; and what is seen of it.

use std::time::Duration;

use tempfile::TempDir;
use xds_bridge::config::{ConsulSource, EtcdSource, SourceConfig};
use xds_bridge::registry::store::{Status, Store, View, Watching};
use xds_bridge::source::{self, Budget};

use crate::support::consul::Consul;
use crate::support::etcd::Etcd;
use crate::support::{registry::Registry, wait};

pub(super) const ROOT: &str = "xds-bridge/";
/// What etcd grants; Consul's shortest is 10 s.
pub(super) const TTL: Duration = Duration::from_secs(3);

pub(super) struct Scene {
    pub(super) registry: Option<Registry>,
    /// One process has it: its stores are one.
    file: Option<Store>,
    pub(super) folder: TempDir,
}

/// What a watch shows.
pub(super) struct Watched(Watching);

pub(super) fn etcd_at(url: String) -> Store {
    let config = SourceConfig::Etcd(EtcdSource::new(vec![url], "/services/"));
    source::store(&config, ROOT, &Budget::default()).unwrap()
}

pub(super) fn consul_at(url: String) -> Store {
    let config = SourceConfig::Consul(Box::new(ConsulSource::new(url)));
    source::store(&config, ROOT, &Budget::default()).unwrap()
}

/// What a bridge shares in this registry.
pub(crate) fn of(registry: &Registry) -> Store {
    match registry {
        Registry::Etcd(etcd) => etcd_at(etcd.url()),
        Registry::Consul(consul) => consul_at(consul.url()),
    }
}

impl Scene {
    pub(super) async fn etcd() -> Self {
        Self::of(Some(Registry::Etcd(Etcd::start().await)))
    }

    pub(super) async fn consul() -> Self {
        Self::of(Some(Registry::Consul(Consul::start().await)))
    }

    pub(super) fn file() -> Self {
        let mut scene = Self::of(None);
        scene.reopen();
        scene
    }

    pub(super) fn with(registry: Registry) -> Self {
        Self::of(Some(registry))
    }

    /// To the registry's process.
    pub(super) fn signal(&mut self, signal: &str) {
        match self.registry.as_mut().unwrap() {
            Registry::Etcd(etcd) => etcd.program().signal(signal),
            Registry::Consul(consul) => consul.program().signal(signal),
        }
    }

    fn of(registry: Option<Registry>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = None;
        Self {
            registry,
            file,
            folder,
        }
    }

    /// As another process would have the file, once the stores of this one are gone.
    pub(super) fn reopen(&mut self) {
        self.file = None;
        self.file = Some(Store::in_file(self.folder.path().join("inside/state.json")));
    }

    /// A store of its own connections.
    pub(super) fn store(&self) -> Store {
        match &self.registry {
            Some(registry) => of(registry),
            None => self.file.clone().unwrap(),
        }
    }

    pub(super) fn watch(&self) -> Watched {
        Watched(self.store().watch())
    }

    /// A whole key, written past the store. A file has none but ours.
    pub(super) async fn foreign(&self, key: &str, value: &str) {
        match &self.registry {
            Some(Registry::Etcd(etcd)) => etcd.put(key, value).await,
            Some(Registry::Consul(consul)) => consul.kv(key, value).await,
            None => {}
        }
    }

    pub(super) async fn foreign_is(&self, key: &str, value: &str) {
        let found = match &self.registry {
            Some(Registry::Etcd(etcd)) => {
                let found = etcd.client().await.get(key, None).await.unwrap();
                found.kvs()[0].value_str().unwrap().to_owned()
            }
            Some(Registry::Consul(consul)) => {
                let raw = consul.get(&format!("/v1/kv/{key}")).await;
                let value = raw[0]["Value"].as_str().unwrap();
                String::from_utf8(base64(value)).unwrap()
            }
            None => return,
        };
        assert_eq!(found, value, "{key}");
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

impl Watched {
    pub(super) fn of(store: &Store) -> Self {
        Self(store.watch())
    }

    pub(super) fn view(&self) -> View {
        self.0.view()
    }

    /// Until it is live and shows these keys, and no others.
    pub(super) async fn until(&mut self, expected: &[(&str, &str)]) {
        self.until_for(wait::PATIENCE, expected).await;
    }

    pub(super) async fn until_for(&mut self, within: Duration, expected: &[(&str, &str)]) {
        wait::until(within, &format!("a live view of {expected:?}"), async || {
            let view = self.0.view();
            let right = view.status == Status::Live && shows(&view, expected);
            wait::holds(right, || format!("{:?}, {:?}", view.status, view.entries))
        })
        .await;
    }

    /// Until it says that the store is away, with this word; the keys stay these.
    pub(super) async fn until_away(&mut self, word: &str, kept: &[(&str, &str)]) {
        wait::until(wait::PATIENCE, &format!("away: {word}"), async || {
            let view = self.0.view();
            assert!(shows(&view, kept), "{view:?}");
            let right = matches!(&view.status, Status::Away { reason } if reason.contains(word));
            wait::holds(right, || format!("{:?}", view.status))
        })
        .await;
    }
}

fn shows(view: &View, expected: &[(&str, &str)]) -> bool {
    let seen = view.entries.values().map(|entry| (&*entry.key, &entry.value[..]));
    seen.eq(expected.iter().map(|(key, value)| (*key, value.as_bytes())))
}
