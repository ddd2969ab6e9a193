//! What services declare of routes, word by word, as requests through a real Envoy find it.

mod cases;
mod more;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::cases::{CASES, Case};
use crate::support::bridge::{Bridge, Step};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::{raw, wait};
use crate::why;

/// A server that answers with its name and with the request as it got it: `NAME METHOD PATH HOST`, and each header
/// that begins with `t-`.
struct Echo {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        let answer = move |request: Request| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            async move {
                if request.uri().path().starts_with("/never") || (n == 0 && name == "late") {
                    std::future::pending::<()>().await;
                }
                Self::answer(name, n, &request)
            }
        };
        let router = Router::new().fallback(answer);
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// `/never` is not answered at all, and the first request to `late`; `/status/503` is answered so by every other
    /// request, the first one too.
    fn answer(name: &str, n: usize, request: &Request) -> impl IntoResponse + use<> {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let mut text = format!("{name} {} {path} {}", request.method(), host.unwrap_or("-"));
        for (name, value) in request.headers() {
            if name.as_str().starts_with("t-") {
                let _ = write!(text, " {name}={}", value.to_str().unwrap_or("?"));
            }
        }
        let status = path.strip_prefix("/status/").filter(|_| n.is_multiple_of(2));
        let status = status
            .and_then(|status| status.parse().ok())
            .unwrap_or(StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert("t-server", "yes".parse().expect("a value"));
        (status, headers, text)
    }
}

/// A service for each case, `s0` and so on, with its routes, and `other`; an Envoy that has them.
async fn scene(cases: &[Case], echo: &Echo, other: &Echo) -> (Folder, Bridge, Envoy) {
    let keys = |(n, Case(routes, _)): (usize, &Case)| {
        let key = |n| {
            if n == 1 {
                "route".to_owned()
            } else {
                format!("route-{n}")
            }
        };
        let keys = (1..)
            .zip(*routes)
            .map(|(at, route)| (key(at), format!("host=s{n} {route}")));
        (format!("s{n}"), keys.collect::<Vec<(String, String)>>())
    };
    let all: Vec<_> = cases.iter().enumerate().map(keys).collect();
    let borrowed: Vec<(&str, Vec<(&str, &str)>)> = all
        .iter()
        .map(|(name, keys)| {
            (
                name.as_str(),
                keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            )
        })
        .collect();
    let services = borrowed
        .iter()
        .map(|(name, keys)| (*name, echo.address, &keys[..]));
    let services: Vec<_> = services.chain([("other", other.address, &[][..])]).collect();
    let folder = Folder::of(&services);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let last = format!("s{}", cases.len() - 1);
    wait::until(wait::PATIENCE, "the routes are there", async || {
        wrong(envoy.listener(), &last, "GET /", "200").await
    })
    .await;
    (folder, bridge, envoy)
}

/// Sends `METHOD PATH name:value …` (`_` in a value is a space) and tells what is wrong with the answer.
async fn wrong(at: SocketAddr, host: &str, request: &str, wanted: &str) -> Result<(), String> {
    let mut parts = request.split(' ');
    let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n");
    for header in parts {
        let (name, value) = header.split_once(':').expect("name:value");
        let value = if name == "cookie" {
            value.replace('_', " ")
        } else {
            value.to_owned()
        };
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let (status, answer) = raw::whole(at, &(text + "\r\n")).await?;
    let wanted = wanted.replace('$', host);
    let status_of = wanted.split(' ').next().and_then(|word| word.parse::<u16>().ok());
    let right = match status_of {
        None => {
            let line = answer.lines().last().unwrap_or_default();
            let sorted = |line: &str| {
                let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            status == 200 && sorted(line) == sorted(&wanted)
        }
        Some(wanted_status) => {
            let holds = match wanted.split_once(' ').map_or("", |(_, rest)| rest) {
                rest if rest.starts_with('!') => !answer.contains(&rest[1..]),
                rest => answer.contains(rest),
            };
            status == wanted_status && holds
        }
    };
    if right {
        Ok(())
    } else {
        Err(format!("{request} at {host}: {answer:?}, not {wanted:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_word_of_a_route_does_what_it_says() {
    let (echo, other) = (Echo::start("echo").await, Echo::start("other").await);
    let (_folder, bridge, envoy) = scene(CASES, &echo, &other).await;
    let at = envoy.listener();
    let mut all = Vec::new();
    for (n, Case(_, requests)) in CASES.iter().enumerate() {
        let host = format!("s{n}");
        for (request, wanted) in *requests {
            all.extend(wrong(at, &host, request, wanted).await.err());
        }
    }
    assert!(all.is_empty(), "{}\n{}", all.join("\n"), bridge.log());
    bridge.assert_no_nacks().await;
    let cases = CASES.iter().map(|Case(routes, requests)| (*routes, *requests));
    why::replayed(&bridge, cases).await;
}

const SHARED: &[Case] = &[
    Case(&["path=/ split=s0:70,other:30"], &[]),
    Case(&["path=/ mirror=other"], &[]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_shared_and_copied_as_declared() {
    let (echo, other) = (Echo::start("echo").await, Echo::start("other").await);
    let (_folder, bridge, envoy) = scene(SHARED, &echo, &other).await;
    let at = envoy.listener();
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..400 {
        let (status, line) = raw::get(at, "s0", "/").await.expect("an answer");
        assert_eq!(status, 200);
        *got.entry(line.split(' ').next().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    let others = got.get("other").copied().unwrap_or_default();
    // 120 are expected; so far off it is once in 10^9 times.
    assert!((60..=180).contains(&others), "{got:?}");
    let before = other.requests.load(Ordering::Relaxed);
    for _ in 0..20 {
        assert_eq!(raw::get(at, "s1", "/").await.expect("an answer").0, 200);
    }
    wait::until(wait::PATIENCE, "each request was copied", async || {
        let copied = other.requests.load(Ordering::Relaxed) - before;
        wait::holds(copied >= 20, || format!("{copied} of 20"))
    })
    .await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_go_to_one_server_where_the_cluster_hashes() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let keys: &[_] = &[("lb", "ring_hash"), ("hash", "header:t-user,cookie:stuck:1h")];
    let folder = Folder::of(&[("web", one.address, keys), ("web", two.address, keys)]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    let ask = async |headers: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{headers}\r\n");
        raw::whole(at, &request).await
    };
    wait::until(wait::PATIENCE, "both servers are there", async || {
        envoy.has_hosts("web", &[one.address, two.address]).await;
        let (status, answer) = ask("").await?;
        // Who has neither the header nor the cookie gets one.
        wait::holds(status == 200 && answer.contains("set-cookie: stuck="), || answer)
    })
    .await;
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for kind in ["t-user: ", "cookie: stuck="] {
        for user in 0..20 {
            let mut got = BTreeSet::new();
            for _ in 0..5 {
                let (status, answer) = ask(&format!("{kind}{user}\r\n")).await.expect("an answer");
                assert_eq!(status, 200, "{answer}");
                let line = answer.lines().last().unwrap_or_default();
                got.insert(line.split(' ').next().unwrap_or_default().to_owned());
            }
            assert_eq!(got.len(), 1, "{kind}{user}: {got:?}");
            *all.entry(got.into_iter().collect()).or_default() += 1;
        }
    }
    assert_eq!(all.len(), 2, "not all users of one server: {all:?}");
    bridge.assert_no_nacks().await;
}
