//! Sources that come and go, and another network, through the real hub with real folders.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::config::load_str;
use crate::fanout::Fanout;
use crate::hub::{Hub, INBOX};
use crate::metrics::Metrics;
use crate::prober;
use crate::render::{Wanted, write_config_dump};
use crate::xds::Kind;

const DEADLINE: Duration = Duration::from_secs(60);

/// A bridge without ports.
struct Bridge {
    folder: TempDir,
    config: Config,
    tasks: Tasks,
    sources: Sources,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    overview: watch::Receiver<Overview>,
    _stop: DropGuard,
}

fn config(folder: &Path, text: &str) -> Config {
    load_str(&folder.join("bridge.toml"), text, None).unwrap()
}

fn source(name: &str) -> String {
    format!("[sources.{name}]\nkind = \"file\"\npath = \"{name}\"\n")
}

fn service(folder: &Path, source: &str, name: &str, port: u16) {
    let text = format!(
        "[services.{name}]\nexpose = \"edge\"\nroute = \"path=/{name}\"\n\
         [[services.{name}.instances]]\nid = \"{source}\"\naddress = \"127.0.0.1\"\nport = {port}\n"
    );
    fs::create_dir_all(folder.join(source)).unwrap();
    fs::write(folder.join(source).join(format!("{name}.toml")), text).unwrap();
}

impl Bridge {
    /// With these services of sources, begun by this configuration.
    fn start(services: &[(&str, &str, u16)], text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        for (source, name, port) in services {
            service(folder.path(), source, name, *port);
        }
        let config = config(folder.path(), text);
        let (fanout, metrics) = (Arc::new(Fanout::new(10, false)), Arc::new(Metrics::default()));
        let budget = Budget::default();
        let infos: std::collections::BTreeMap<_, _> = config
            .sources
            .keys()
            .map(|name| (name.clone(), info(&config, name, &budget).unwrap()))
            .collect();
        let settle = (config.xds.settle, config.xds.settle_max);
        let network = config.network();
        let (hub, overview) = Hub::new(infos.clone(), network, settle, fanout.clone(), metrics.clone());
        let (events, inbox) = mpsc::channel(INBOX);
        let (orders, orders_in) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone(), Duration::from_secs(10));
        let (asking, shell) = prober::channels(1);
        tasks.spawn("prober", |stop| prober::run(shell, stop));
        tasks.spawn("hub", |stop| hub.run(inbox, orders_in, asking, stop));
        let sources = Sources::new(events, orders, overview.clone(), budget);
        for (name, info) in infos {
            sources.start(&mut tasks, &config, &name, info);
        }
        Self {
            folder,
            config,
            tasks,
            sources,
            fanout,
            metrics,
            overview,
            _stop: stop.drop_guard(),
        }
    }

    async fn apply(&mut self, text: &str) {
        let new = config(self.folder.path(), text);
        self.sources.apply(&mut self.tasks, &self.config, &new).await;
        self.config = new;
    }

    /// Waits until a resource is served with these words, and without those; no words: until it is not served.
    async fn until(&mut self, kind: Kind, name: &str, with: &[&str], without: &[&str]) {
        let fanout = self.fanout.clone();
        let seen = || {
            let Some(generation) = fanout.current() else {
                return false;
            };
            let wanted = Wanted {
                kind: Some(kind),
                name: Some(name.to_owned()),
            };
            let mut text = Vec::new();
            write_config_dump(&generation, &wanted, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            if with.is_empty() {
                return !text.contains("version_info");
            }
            text.contains("version_info")
                && with.iter().all(|word| text.contains(word))
                && !without.iter().any(|word| text.contains(word))
        };
        let wait = self.overview.wait_for(|_| seen());
        let in_time = tokio::time::timeout(DEADLINE, wait).await;
        assert!(
            in_time.is_ok_and(|seen| seen.is_ok()),
            "{name}: {with:?}, not {without:?}"
        );
    }
}

const EDGE: &str = "[exposures.edge]\nhosts = [\"api.example.com\"]\n";

#[tokio::test]
async fn a_source_comes_and_goes_and_what_others_have_stays() {
    let services = [("a", "web", 1001), ("b", "web", 1002), ("b", "cart", 1003)];
    let (one, both) = (
        format!("{EDGE}{}", source("a")),
        format!("{EDGE}{}{}", source("a"), source("b")),
    );
    let mut bridge = Bridge::start(&services, &one);
    bridge.until(Kind::Endpoints, "web", &["1001"], &["1002"]).await;
    bridge.apply(&both).await;
    bridge.until(Kind::Endpoints, "web", &["1001", "1002"], &[]).await;
    bridge.until(Kind::Cluster, "cart", &["cart"], &[]).await;
    bridge.until(Kind::Route, "edge", &["/cart", "/web"], &[]).await;
    assert!(bridge.metrics.text().contains("source=\"b\""));
    bridge.apply(&one).await;
    bridge.until(Kind::Endpoints, "web", &["1001"], &["1002"]).await;
    bridge.until(Kind::Cluster, "cart", &[], &[]).await;
    bridge.until(Kind::Route, "edge", &["/web"], &["/cart"]).await;
    assert!(
        !bridge.metrics.text().contains("source=\"b\""),
        "{}",
        bridge.metrics.text()
    );
    assert!(
        bridge
            .overview
            .borrow()
            .sources
            .iter()
            .all(|view| &*view.name == "a")
    );
    // It comes back as one that was never there.
    bridge.apply(&both).await;
    bridge.until(Kind::Endpoints, "web", &["1001", "1002"], &[]).await;
}

#[tokio::test]
async fn a_source_that_moves_to_another_name_is_served_throughout() {
    let services = [("a", "web", 1001), ("b", "web", 1001)];
    let mut bridge = Bridge::start(&services, &format!("{EDGE}{}", source("a")));
    bridge.until(Kind::Endpoints, "web", &["1001"], &[]).await;
    let before = bridge.fanout.current().unwrap().number;
    bridge.apply(&format!("{EDGE}{}", source("b"))).await;
    let gone = bridge
        .overview
        .wait_for(|o| o.sources.iter().all(|view| &*view.name == "b"));
    drop(tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap());
    bridge.until(Kind::Endpoints, "web", &["1001"], &[]).await;
    let after = bridge.fanout.current().unwrap().number;
    assert_eq!(after, before, "nothing of it changed");
}

#[tokio::test]
async fn a_source_with_other_settings_is_served_until_it_delivers() {
    let services = [
        ("a", "web", 1001),
        ("b", "cart", 1003),
        ("elsewhere", "web", 1009),
    ];
    let with = |path: &str| {
        let a = source("a").replace("path = \"a\"", &format!("path = \"{path}\""));
        format!("{EDGE}{a}{}", source("b"))
    };
    let mut bridge = Bridge::start(&services, &with("a"));
    bridge.until(Kind::Endpoints, "web", &["1001"], &[]).await;
    bridge.apply(&with("missing")).await;
    let away = bridge.overview.wait_for(|overview| {
        let mut sources = overview.sources.iter();
        sources.any(|view| &*view.name == "a" && view.reason.is_some())
    });
    drop(tokio::time::timeout(DEADLINE, away).await.unwrap().unwrap());
    bridge.until(Kind::Endpoints, "web", &["1001"], &[]).await;
    // What is away holds nothing else up.
    service(bridge.folder.path(), "b", "cart", 1004);
    bridge.until(Kind::Endpoints, "cart", &["1004"], &["1003"]).await;
    bridge.apply(&with("elsewhere")).await;
    bridge.until(Kind::Endpoints, "web", &["1009"], &["1001"]).await;
}

#[tokio::test]
async fn another_network_is_published_by_its_difference() {
    let listener = |exposure: &str| {
        format!("[listeners.front]\naddress = \"127.0.0.1:10000\"\nexposure = \"{exposure}\"\n")
    };
    let services = [("a", "web", 1001)];
    let a = source("a");
    let mut bridge = Bridge::start(&services, &a);
    bridge.until(Kind::Cluster, "web", &["web"], &[]).await;
    bridge.until(Kind::Route, "edge", &[], &[]).await;
    // The exposure that the service names is defined later: what it declared counts from then on.
    bridge.apply(&format!("{EDGE}{}{a}", listener("edge"))).await;
    bridge.until(Kind::Listener, "front", &["10000"], &[]).await;
    bridge
        .until(Kind::Route, "front", &["api.example.com", "/web"], &[])
        .await;
    bridge.until(Kind::Route, "edge", &["/web"], &[]).await;
    let number = bridge.fanout.current().unwrap().number;
    bridge
        .apply(&format!(
            "{EDGE}{}[clusters]\nconnect_timeout = \"7s\"\n{a}",
            listener("edge")
        ))
        .await;
    bridge.until(Kind::Cluster, "web", &["7s"], &[]).await;
    assert_eq!(bridge.fanout.current().unwrap().number, number + 1);
    bridge.apply(&format!("{EDGE}{}{a}", listener("internal"))).await;
    bridge
        .until(Kind::Route, "front", &["web"], &["api.example.com"])
        .await;
    // Both go, and the service is as if it had never named the exposure.
    bridge.apply(&a).await;
    bridge.until(Kind::Listener, "front", &[], &[]).await;
    bridge.until(Kind::Route, "front", &[], &[]).await;
    bridge.until(Kind::Route, "edge", &[], &[]).await;
    bridge.until(Kind::Route, "internal", &["/web"], &[]).await;
    let declared = bridge.overview.borrow().sources[0].entries;
    assert_eq!(declared.0, 0, "the entry stays");
}
