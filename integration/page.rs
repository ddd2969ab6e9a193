//! The page of the admin port, in a real Chromium: what it shows is what the API says.

use std::path::PathBuf;
use std::process::Stdio;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use xds_bridge::xds::{DeltaRequest, Kind, Node};

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
    shows(
        &bridge,
        "/clients",
        &["envoy-1|proof|in sync|", "cds: all", "1 to 1 of 1"],
    )
    .await;
    shows(&bridge, "/events", &["delivered for the first time"]).await;
    shows(&bridge, "/service/%", &["No source knows this service."]).await;
    shows(&bridge, "/service/nobody", &["No source knows this service."]).await;
}

/// What many services and clients are.
const SERVICES: usize = 5_000;
const CLIENTS: usize = 1_000;

/// An answer, as far as it has to be acknowledged.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// One client, which asks for the listeners and one cluster and accepts what it gets, until the end of the test.
async fn client(channel: tonic::transport::Channel, number: usize) -> Result<(), tonic::Status> {
    let (requests, said) = mpsc::channel(8);
    let mut node = Some(Node {
        id: format!("envoy-{number:04}"),
        cluster: format!("fleet-{}", number % 20),
        user_agent: "envoy".to_owned(),
        ..Node::default()
    });
    for (kind, names) in [
        (Kind::Cluster, vec![format!("service-{number:04}")]),
        (Kind::Listener, Vec::new()),
    ] {
        let request = DeltaRequest {
            node: node.take(),
            type_url: kind.type_url().to_owned(),
            subscribe: names,
            ..DeltaRequest::default()
        };
        let _ = requests.send(request).await;
    }
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let codec = tonic_prost::ProstCodec::<DeltaRequest, Answer>::default();
    let request = tonic::Request::new(ReceiverStream::new(said));
    let path = http::uri::PathAndQuery::from_static(path);
    let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        let ack = DeltaRequest {
            type_url: answer.type_url,
            nonce: answer.nonce,
            ..DeltaRequest::default()
        };
        let _ = requests.send(ack).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_thousands_of_services_and_clients_a_part_at_a_time() {
    if chromium().is_none() {
        eprintln!("NOT TESTED: there is no chromium on this machine");
        return;
    }
    let server = Server::http("one").await;
    let names: Vec<String> = (0..SERVICES).map(|n| format!("service-{n:04}")).collect();
    let all: Vec<Declared<'_>> = names
        .iter()
        .map(|name| (name.as_str(), server.address, &[][..]))
        .collect();
    let folder = Folder::of(&all);
    let bridge = Bridge::start(&folder.section()).await;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", bridge.xds)).expect("an address");
    let channel = endpoint.connect().await.expect("the bridge");
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(channel.clone(), number));
    }
    wait::until(4 * wait::PATIENCE, "all clients are in sync", async || {
        let status: Value =
            serde_json::from_str(&bridge.text("/status").await?).map_err(|e| e.to_string())?;
        wait::holds(status["counts"]["in sync"] == CLIENTS, || {
            status["counts"].to_string()
        })
    })
    .await;
    if let Some(page) = std::env::var_os("PAGE_HOLD") {
        // For whoever looks at it: the address is written there, and it stays until the file is gone.
        let page = PathBuf::from(page);
        std::fs::write(&page, format!("http://{}/", bridge.admin)).expect("a file");
        wait::until(20 * wait::PATIENCE, "the file is removed", async || {
            wait::holds(!page.exists(), || "it is there".to_owned())
        })
        .await;
    }
    let rows = |text: &str, part: &str| text.matches(part).count();
    shows(
        &bridge,
        "/",
        &["5000 services", "1000 clients", "0 clients behind"],
    )
    .await;
    let text = shows(&bridge, "/services", &["1 to 100 of 5000", "service-0000|1|"]).await;
    assert_eq!(rows(&text, "|1||"), 100, "no more than a part is drawn: {text}");
    shows(
        &bridge,
        "/services?offset=4900",
        &["4901 to 5000 of 5000", "service-4999|1|"],
    )
    .await;
    shows(
        &bridge,
        "/services?search=service-123",
        &["1 to 10 of 10", "service-1239|1|"],
    )
    .await;
    let text = shows(
        &bridge,
        "/clients",
        &["1 to 100 of 1000", "envoy-0000|fleet-0|in sync|"],
    )
    .await;
    assert_eq!(rows(&text, "|in sync|"), 100, "{text}");
    shows(
        &bridge,
        "/clients?offset=900",
        &["901 to 1000 of 1000", "envoy-0989|fleet-9|in sync|"],
    )
    .await;
    shows(
        &bridge,
        "/clients?search=envoy-0123",
        &["1 to 1 of 1", "envoy-0123|fleet-3|in sync|"],
    )
    .await;
    shows(&bridge, "/routes?host=service-00", &["(100)", "service-0099|"]).await;
    shows(
        &bridge,
        "/routes",
        &["(5000)", "4500 more: search by host narrows"],
    )
    .await;
    shows(
        &bridge,
        "/service/service-4321",
        &["service-4321: 1 of 1 instances get requests"],
    )
    .await;
    assert!(clients.try_join_next().is_none(), "no client was lost");
    clients.shutdown().await;
}
