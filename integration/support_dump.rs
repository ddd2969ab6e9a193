//! `support-dump`: all of what a bridge says of itself, and nothing of what is secret.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::etcd::{Etcd, instance_key};
use crate::support::servers::Server;
use crate::support::{raw, wait};

/// What must be nowhere.
const PLANTED: &str = "Pl4nt3d";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_has_what_one_needs_and_no_secret() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{PLANTED}{name}\n")).expect("a file");
        path.display().to_string()
    };
    let config = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[[rollouts.webhook]]\nurl = \
         \"http://127.0.0.1:9/{PLANTED}url\"\nsecret_file = \"{}\"\n[services.\"nobody\"]\nroute = \"host=n.x \
         set-header=authorization:{PLANTED}config\"\n",
        etcd.url(),
        secret("webhook")
    );
    let server = Server::http("web-1").await;
    let (ip, port) = (server.address.ip().to_string(), server.address.port());
    let put = async |route: &str| {
        let value = json!({ "address": ip, "port": port, "route": route });
        etcd.put(&instance_key("web", "a"), value.to_string()).await;
    };
    put(&format!(
        "host=api.x path=/ header=x-key:{PLANTED}match set-header=x-token:{PLANTED}one"
    ))
    .await;
    let bridge = Bridge::start(&config).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    // Its value changes, which is an event.
    put(&format!(
        "host=api.x path=/ header=x-key:{PLANTED}match set-header=x-token:{PLANTED}two"
    ))
    .await;
    wait::until(wait::PATIENCE, "the change is an event", async || {
        let events = bridge.text("/events?service=web").await?;
        wait::holds(events.contains(&format!("{PLANTED}two")), || events.clone())
    })
    .await;
    let _ = raw::get(envoy.listener(), "api.x", "/").await;

    let to = folder.path().join("dump");
    let output = bridge
        .command(&format!("support-dump --to {}", to.display()))
        .await;
    assert!(output.status.success(), "{}", output.stderr);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&to).expect("the dump") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(!text.contains(PLANTED), "{}: {text}", path.display());
        assert!(!text.trim().is_empty(), "{}", path.display());
        names.insert(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    for name in [
        "about.txt",
        "bridge.toml",
        "events.json",
        "metrics.txt",
        "routes.json",
        "services.json",
        "status.json",
    ] {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
    let routes = std::fs::read_to_string(to.join("routes.json")).expect("routes");
    assert!(routes.contains("header=x-key:(hidden)"), "{routes}");
    let about = std::fs::read_to_string(to.join("about.txt")).expect("what it is");
    assert!(about.contains("0 of"), "{about}");
    // What is there is not overwritten.
    assert!(
        !bridge
            .command(&format!("support-dump --to {}", to.display()))
            .await
            .status
            .success()
    );
}
