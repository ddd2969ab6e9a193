//! The page of the admin port, in a real Chromium: what it shows is what the API says.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::folder::{Declared, Folder};
use crate::support::servers::Server;
use crate::support::wait;

/// `None`: there is none on this machine, which `make test` says at its end.
fn chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM_BIN") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// The text of the page as a person sees it, once it holds these words.
async fn shows(bridge: &Bridge, view: &str, words: &[&str]) -> String {
    let chromium = chromium().expect("asked for before");
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("http://{}/#{view}", bridge.admin);
    wait::until(wait::PATIENCE, &format!("{view}: {words:?}"), async || {
        let output = Command::new(&chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=3000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg(&address)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = text(&dom);
        wait::holds(words.iter().all(|word| text.contains(word)), || text.clone())?;
        Ok(text)
    })
    .await
}

/// Without tags; each cell ends with a bar.
fn text(dom: &str) -> String {
    let dom = dom
        .replace("</td>", "|")
        .replace("</th>", "|")
        .replace("</b>", " ");
    let mut text = String::new();
    let mut inside = true;
    for letter in dom.chars() {
        match letter {
            '<' => inside = false,
            '>' => inside = true,
            letter if inside => text.push(letter),
            _ => {}
        }
    }
    text.replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_what_the_api_says() {
    if chromium().is_none() {
        eprintln!("NOT TESTED: there is no chromium on this machine");
        return;
    }
    let server = Server::http("orders-1").await;
    let names: Vec<String> = (0..300).map(|n| format!("service-{n:03}")).collect();
    let keys: &[(&str, &str)] = &[("route", "host=api.x path=/orders header=x-canary:1")];
    let mut all: Vec<Declared<'_>> = names
        .iter()
        .map(|name| (name.as_str(), server.address, &[][..]))
        .collect();
    all.push(("orders", server.address, keys));
    // What somebody registers is text, whatever it looks like.
    let odd: &[(&str, &str)] = &[("route", "host=odd.x path=/<img/src=x/onerror=alert(1)>")];
    all.push(("odd", server.address, odd));
    let folder = Folder::of(&all);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;

    let api = async |path: &str| -> Value {
        serde_json::from_str(&bridge.text(path).await.expect("an answer")).expect("JSON")
    };
    let total = api("/services?limit=0").await["total"].to_string();
    shows(
        &bridge,
        "/",
        &[
            &format!("{total} services"),
            "folder|file|live|",
            "delivered for the first time: 302 services",
        ],
    )
    .await;
    shows(
        &bridge,
        "/services?search=service-29",
        &["service-290|1|", "1 to 10 of 10"],
    )
    .await;
    shows(
        &bridge,
        "/services?offset=100",
        &["101 to 200 of 302", "service-100|1|"],
    )
    .await;
    let one = shows(
        &bridge,
        "/service/orders",
        &[
            "orders: 1 of 1 instances get requests",
            "header=x-canary:1 of host api.x",
            "1 have its present endpoints",
        ],
    )
    .await;
    assert!(
        !one.contains("undefined") && !one.contains("false") && !one.contains("NaN"),
        "{one}"
    );
    shows(
        &bridge,
        "/service/odd",
        &["path=/<img/src=x/onerror=alert(1)> of host odd.x"],
    )
    .await;
    shows(
        &bridge,
        "/routes?host=api.x&request=GET%20http%3A%2F%2Fapi.x%2Forders",
        &[
            "the header `x-canary` is missing",
            "api.x|path=/orders header=x-canary:1|orders|",
        ],
    )
    .await;
    shows(&bridge, "/clients", &["|proof|envoy|delta|", "cds: all"]).await;
    shows(&bridge, "/events", &["delivered for the first time"]).await;
    shows(&bridge, "/service/%", &["No source knows this service."]).await;
    shows(&bridge, "/service/nobody", &["No source knows this service."]).await;
}
