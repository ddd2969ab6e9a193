//! The file source on a real folder, watched as in production. Waits for messages with deadlines, never sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use xds_bridge::catalog::Catalog;
use xds_bridge::config::FileSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Change, Event, Health, Service, Severity, Status};
use xds_bridge::source::file::FileWatcher;
use xds_bridge::source::{Sink, Source};

const DEADLINE: Duration = Duration::from_secs(30);

/// A source at work, and the hub's side of it.
struct Hub {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Hub {
    fn watch(folder: &Path) -> Self {
        let (sender, events) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let source = FileWatcher::new(&FileSource {
            path: folder.to_owned(),
        });
        let task = tokio::spawn(Box::new(source).run(Sink::new("file".into(), sender), stop.clone()));
        Self {
            events,
            catalog: Catalog::new([("file".into(), None)]),
            stop,
            task,
        }
    }

    async fn next(&mut self) -> What {
        let event = timeout(DEADLINE, self.events.recv())
            .await
            .expect("a message in time")
            .expect("no panic");
        self.catalog.apply(event.clone(), Duration::ZERO);
        event.what
    }

    /// The next change; a status before it is passed over.
    async fn change(&mut self) -> Change {
        loop {
            if let What::Change(change) = self.next().await {
                return change;
            }
        }
    }

    /// The next status; no change may come before it.
    async fn status(&mut self) -> Status {
        match self.next().await {
            What::Status(status) => status,
            other => panic!("instead of a status: {other:?}"),
        }
    }

    fn service(&self, name: &str) -> Option<Service> {
        self.catalog.service(&name.into())
    }

    fn ports(&self, name: &str) -> Vec<u16> {
        self.service(name).map_or(Vec::new(), |s| {
            s.instances.iter().map(|i| i.address.port()).collect()
        })
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.task)
            .await
            .expect("ends promptly")
            .unwrap();
    }
}

fn service(name: &str, port: u16) -> String {
    format!("[[services.{name}.instances]]\naddress = \"127.0.0.1\"\nport = {port}\n")
}

fn names(change: &Change) -> Vec<&str> {
    change.services.iter().map(|(name, _)| &**name).collect()
}

#[tokio::test]
async fn files_come_change_and_go() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), service("orders", 1)).unwrap();
    fs::write(folder.path().join(".hidden.toml"), service("hidden", 1)).unwrap();
    fs::write(folder.path().join("README.md"), "nothing").unwrap();
    let mut hub = Hub::watch(folder.path());
    let first = hub.change().await;
    assert!(first.complete && names(&first) == ["orders"], "{first:?}");
    assert_eq!(hub.status().await, Status::Live);

    fs::write(folder.path().join("b.toml"), service("users", 2)).unwrap();
    let change = hub.change().await;
    assert!(!change.complete && names(&change) == ["users"], "{change:?}");

    fs::write(folder.path().join("b.toml"), service("users", 3)).unwrap();
    assert_eq!(names(&hub.change().await), ["users"]);
    assert_eq!(hub.ports("users"), [3]);

    // As editors do it: a temporary file takes the place of the old one.
    fs::write(
        folder.path().join("a.tmp"),
        service("orders", 1) + &service("orders", 4),
    )
    .unwrap();
    fs::rename(folder.path().join("a.tmp"), folder.path().join("a.toml")).unwrap();
    assert_eq!(names(&hub.change().await), ["orders"]);
    assert_eq!(hub.ports("orders"), [1, 4]);

    fs::remove_file(folder.path().join("b.toml")).unwrap();
    assert_eq!(names(&hub.change().await), ["users"]);
    assert_eq!((hub.service("users"), hub.ports("orders")), (None, vec![1, 4]));
    hub.stop().await;
}

#[tokio::test]
async fn a_broken_file_holds_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.toml"), folder.path().join("b.json"));
    fs::write(&a, service("orders", 1)).unwrap();
    fs::write(
        &b,
        r#"{"services": {"users": {"instances": [{"address": "127.0.0.1", "port": 2}]}}}"#,
    )
    .unwrap();
    let mut hub = Hub::watch(folder.path());
    hub.change().await;
    assert_eq!(hub.status().await, Status::Live);

    fs::write(&a, service("orders", 7) + "\nport = = 1\n").unwrap();
    let change = hub.change().await;
    assert_eq!(change.services, []);
    let stray = change.stray.unwrap();
    assert_eq!(
        (stray.len(), stray[0].entry.as_str(), stray[0].severity),
        (1, "a.toml", Severity::Warning)
    );
    assert!(stray[0].reason.starts_with("line 5:"), "{}", stray[0].reason);
    assert_eq!(hub.ports("orders"), [1]);

    fs::write(
        &b,
        r#"{"services": {"users": {"instances": [{"address": "127.0.0.1", "port": 3}]}}}"#,
    )
    .unwrap();
    assert_eq!(names(&hub.change().await), ["users"]);

    fs::write(&a, service("orders", 7)).unwrap();
    let mended = hub.change().await;
    assert_eq!((names(&mended), &mended.stray), (vec!["orders"], &Some(vec![])));
    assert_eq!((hub.ports("orders"), hub.ports("users")), (vec![7], vec![3]));

    // An emptied file is a file that is about to be written.
    fs::write(&a, "").unwrap();
    assert!(
        hub.change().await.stray.unwrap()[0]
            .reason
            .starts_with("is empty")
    );
    assert_eq!(hub.ports("orders"), [7]);
    hub.stop().await;
}

#[tokio::test]
async fn a_missing_folder_is_away_and_what_is_held_stays() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("catalog");
    let mut hub = Hub::watch(&folder);
    assert!(matches!(hub.status().await, Status::Away { reason } if reason.contains("catalog")));
    assert!(!hub.catalog.ready(), "an unread folder is not an empty one");

    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), service("orders", 1)).unwrap();
    assert!(hub.change().await.complete);
    assert_eq!(hub.status().await, Status::Live);

    fs::rename(&folder, parent.path().join("elsewhere")).unwrap();
    assert!(matches!(hub.status().await, Status::Away { .. }));
    assert_eq!(hub.ports("orders"), [1]);

    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), service("orders", 2)).unwrap();
    assert_eq!(names(&hub.change().await), ["orders"]);
    assert_eq!(hub.status().await, Status::Live);
    assert_eq!(hub.ports("orders"), [2]);
    hub.stop().await;
}

#[tokio::test]
async fn an_empty_folder_is_live_and_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::watch(folder.path());
    let first = hub.change().await;
    assert!(first.complete && first.services.is_empty());
    assert_eq!(hub.status().await, Status::Live);
    hub.stop().await;
}

#[tokio::test]
async fn the_sample_catalog_has_no_issues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/catalog");
    let mut hub = Hub::watch(&folder);
    let change = hub.change().await;
    assert_eq!(names(&change), ["orders", "stock", "users", "web"]);
    let (_, state) = hub.catalog.sources().next().unwrap();
    assert_eq!(
        state.issues().collect::<Vec<_>>(),
        [] as [&xds_bridge::model::Issue; 0]
    );
    assert!(
        hub.service("stock")
            .unwrap()
            .instances
            .iter()
            .any(|i| i.health == Health::Draining)
    );
    hub.stop().await;
}

#[tokio::test]
async fn five_thousand_services_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let instances: Vec<_> = (1..=15)
        .map(|n| format!(r#"{{"address":"10.0.0.{n}","port":8080,"version":"9f31c2a"}}"#))
        .collect();
    let mut services: Vec<_> = (0..5000)
        .map(|n| format!(r#""s{n}":{{"instances":[{}]}}"#, instances.join(",")))
        .collect();
    let file = folder.path().join("all.json");
    fs::write(&file, format!("{{\"services\":{{{}}}}}", services.join(","))).unwrap();
    let mut hub = Hub::watch(folder.path());
    assert_eq!(hub.change().await.services.len(), 5000);
    assert_eq!(hub.status().await, Status::Live);
    services[17] = r#""s17":{"instances":[]}"#.to_owned();
    fs::write(&file, format!("{{\"services\":{{{}}}}}", services.join(","))).unwrap();
    assert_eq!(names(&hub.change().await), ["s17"]);
    hub.stop().await;
}
