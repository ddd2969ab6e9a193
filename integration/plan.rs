//! What would change is said before it is written, by a running bridge's catalog and the command line.

use serde_json::Value;

use crate::support::bridge::{Bridge, run};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_declaration_or_a_configuration_would_change_is_said_before_it_is_written() {
    let server = Server::http("web").await;
    let folder = Folder::of(&[
        ("web", server.address, &[("route", "host=web path=/api")]),
        ("cart", server.address, &[]),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    bridge.metric_is("xds_bridge_services", &[], |n| n == 2).await;
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("writing a file");
        path.display().to_string()
    };
    let planned = |args: &[&str]| {
        let output = bridge.run(&[&["plan"], args].concat());
        let code = output.status.code();
        (code, output.stdout, output.stderr)
    };
    // A policy document, by the name of its file: nobody loses anything.
    let cart = write("cart.json", r#"{"route": "host=cart path=/more"}"#);
    let (code, text, _) = planned(&["--declare", &cart]);
    assert_eq!(
        (code, text.contains("cart gets these requests")),
        (Some(0), true),
        "{text}"
    );
    // Another service's host: it is refused.
    let thief = write("thief.json", r#"{"route": "host=web path=/"}"#);
    let (code, text, _) = planned(&["--declare", &thief, "--service", "cart"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("! cart: route: host `web` is that of the service `web`"),
        "{text}"
    );
    // An instance of a service that is not there yet.
    let new = write("new.json", r#"{"address": "10.0.0.7", "port": 80}"#);
    let (code, text, _) = planned(&["--declare", &new, "--json"]);
    let found: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(found["clusters"][0]["name"], "new", "{found}");
    // Nothing of it is in force.
    bridge.metric_is("xds_bridge_services", &[], |n| n == 2).await;

    // Another configuration, by itself or beside the bridge's own.
    let own = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let other = own
        + "\n[exposures.shop]\nhosts = [\"shop.test\"]\n[listeners.shop]\ninternal = true\nexposure = \"shop\"\nfleets = \
           [\"shop\"]\n[fleets.shop]\nservices = [\"cart\"]\n[external.outside]\naddresses = [\"10.0.0.9:80\"]\nexpose = \
           \"shop\"\nroute = \"host=shop.test path=/\"\n";
    let other = write("new.toml", &other);
    let by_config = run(&["plan", "--config", &other], dir.path());
    let (code, by_with, _) = planned(&["--with", &other]);
    let text = by_config.stdout;
    assert_eq!(
        (by_config.status.code(), code),
        (Some(0), Some(0)),
        "{text}{by_with}"
    );
    for line in [
        "+ shop.test path=/ on shop (Envoys of shop): outside gets these requests",
        "  cluster outside: added",
        "  listener shop: added",
        "  cart is seen by shop, now by each fleet without a view",
        "  web is seen by nobody, now by each fleet without a view",
    ] {
        assert!(text.contains(line) && by_with.contains(line), "{line}: {text}");
    }
    wait::until(wait::PATIENCE, "nothing is in force", async || {
        let text = bridge.text("/routes").await?;
        wait::holds(!text.contains("shop.test"), || text)
    })
    .await;
}
