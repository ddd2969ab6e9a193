//! A scripted Consul agent on loopback (and in `hub` one that remembers what a source told it).
//!
//! Left alone it behaves as Consul does (blocking reads, an index per service, KV); a script may
//! answer any request otherwise, also those that block already. Never sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test uses its part of it")]

mod door;
mod hub;
#[path = "../source_hub/mod.rs"]
mod source_hub;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::sync::watch;

#[allow(unused_imports, reason = "each test uses its part of it")]
pub use door::{Door, TOO_MANY_CONNECTIONS, Welcome};
#[allow(unused_imports, reason = "each test uses its part of it")]
pub use hub::timing;
pub use source_hub::Hub;

const DEADLINE: Duration = Duration::from_secs(40);

/// A request, as a script sees it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Decoded.
    pub path: String,
    /// Behind the `?`, as it was sent.
    pub query: String,
    pub consistent: bool,
    /// Asked for its index alone.
    pub probe: bool,
    pub index: Option<u64>,
    pub token: String,
}

/// What a script answers.
#[derive(Clone, Debug)]
pub enum Reply {
    Say {
        status: u16,
        index: u64,
        body: String,
    },
    /// Any headers, and a body that is whole or not.
    Odd {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
        rest: Rest,
    },
    /// Until something is set or scripted.
    Hang,
    /// The connection ends without a byte; over HTTP/2 the stream is reset for this reason.
    Drop(h2::Reason),
}

/// What follows the body that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Nothing,
    /// More was promised, and the connection ends.
    Cut,
    /// More was promised, and never comes.
    Never,
}

#[allow(clippy::unnecessary_wraps, reason = "a script answers or does not")]
pub fn say(status: u16, index: u64, body: &str) -> Option<Reply> {
    Some(Reply::Say {
        status,
        index,
        body: body.to_owned(),
    })
}

/// A health answer from which the token hides something, as Consul 1.11 and newer say.
#[allow(clippy::unnecessary_wraps, reason = "a script answers or does not")]
pub fn filtered(index: u64, body: &str) -> Option<Reply> {
    Some(Reply::Odd {
        status: 200,
        headers: vec![
            ("x-consul-index", index.to_string()),
            ("x-consul-knownleader", "true".to_owned()),
            ("x-consul-results-filtered-by-acls", "true".to_owned()),
        ],
        body: body.to_owned(),
        rest: Rest::Nothing,
    })
}

type Script = Box<dyn Fn(&Ask) -> Option<Reply> + Send>;

pub struct Fake {
    state: Mutex<Registry>,
    wake: watch::Sender<u64>,
    script: Mutex<Script>,
    pub door: Door,
    log: Mutex<Vec<Ask>>,
    open: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
    most_reads: AtomicUsize,
    slow: AtomicBool,
    streams: AtomicBool,
    is_server: AtomicBool,
    /// How a read ends that has blocked this long.
    cut: Mutex<Option<(Duration, Reply)>>,
    /// Counts requests, and those that block once they do.
    asked: watch::Sender<u64>,
}

#[derive(Default)]
struct Registry {
    index: u64,
    names_index: u64,
    /// Instances by id, and the index of the service; empty: gone.
    services: BTreeMap<String, (u64, Vec<u16>)>,
    keys: BTreeMap<String, String>,
    keys_index: u64,
}

/// Counts open requests, also those that are dropped.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    #[expect(clippy::unused_async, reason = "inside a runtime only")]
    pub async fn start() -> (Arc<Self>, String) {
        let registry = Registry {
            index: 100,
            names_index: 100,
            keys_index: 1,
            ..Registry::default()
        };
        let fake = Arc::new(Self {
            state: Mutex::new(registry),
            wake: watch::Sender::new(0),
            script: Mutex::new(Box::new(|_| None)),
            door: Door::default(),
            log: Mutex::default(),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            most_reads: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            streams: AtomicBool::new(false),
            is_server: AtomicBool::new(true),
            cut: Mutex::default(),
            asked: watch::Sender::new(0),
        });
        let address = format!("http://{}", door::open(fake.clone()));
        (fake, address)
    }

    pub fn script(&self, script: impl Fn(&Ask) -> Option<Reply> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
        self.wake.send_modify(|n| *n += 1);
    }

    /// Sets the ports of a service; none: it is gone.
    pub fn set(&self, name: &str, ports: &[u16]) {
        let mut state = self.state.lock().unwrap();
        state.index += 1;
        state.names_index = state.index;
        let entry = (state.index, ports.to_vec());
        state.services.insert(name.to_owned(), entry);
        drop(state);
        self.wake.send_modify(|n| *n += 1);
    }

    /// What is set from now on has a higher index than this: than any that a script made up.
    pub fn jump(&self, index: u64) {
        self.state.lock().unwrap().index = index;
    }

    pub fn set_key(&self, key: &str, value: Option<&str>) {
        let mut state = self.state.lock().unwrap();
        state.index += 1;
        state.keys_index = state.index;
        match value {
            Some(value) => drop(state.keys.insert(key.to_owned(), value.to_owned())),
            None => drop(state.keys.remove(key)),
        }
        drop(state);
        self.wake.send_modify(|n| *n += 1);
    }

    /// How many such requests were seen since the last `forget`.
    pub fn count(&self, wanted: impl Fn(&Ask) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|ask| wanted(ask)).count()
    }

    /// Such requests since the last `forget`.
    pub fn asked(&self, wanted: impl Fn(&Ask) -> bool) -> Vec<Ask> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|ask| wanted(ask)).cloned().collect()
    }

    /// Waits until such a request is there.
    pub async fn until_seen(&self, wanted: impl Fn(&Ask) -> bool) {
        self.until_seen_times(1, wanted).await;
    }

    /// Waits until so many are there.
    pub async fn until_seen_times(&self, times: usize, wanted: impl Fn(&Ask) -> bool) {
        let mut asked = self.asked.subscribe();
        let seen = async {
            while self.count(&wanted) < times {
                asked.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, seen)
            .await
            .expect("not asked in time");
    }

    /// Blocking requests that wait.
    fn blocked(&self) -> usize {
        self.open.load(Ordering::SeqCst) - self.reads.load(Ordering::SeqCst)
    }

    /// From now on an answer takes a moment, so that [`Self::most_reads`] tells something.
    pub fn slow(&self) {
        self.slow.store(true, Ordering::SeqCst);
    }

    /// From now on health reads with an index are answered as Consul's streaming backend does.
    pub fn streams(&self) {
        self.streams.store(true, Ordering::SeqCst);
    }

    /// It says of itself that it is a client agent.
    pub fn is_a_client(&self) {
        self.is_server.store(false, Ordering::SeqCst);
    }

    /// From now on something on the way ends a read like this that has blocked this long.
    pub fn cut_after(&self, time: Duration, reply: Reply) {
        *self.cut.lock().unwrap() = Some((time, reply));
    }

    /// The most requests that did not block and were open at once.
    pub fn most_reads(&self) -> usize {
        self.most_reads.load(Ordering::SeqCst)
    }

    /// Whether such a request was seen since the last `forget`.
    pub fn seen(&self, wanted: impl Fn(&Ask) -> bool) -> bool {
        self.log.lock().unwrap().iter().any(wanted)
    }

    pub fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    /// The most requests that were open at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The registry's own answer: index, status and body.
    fn own(&self, path: &str) -> (u64, u16, String) {
        let state = self.state.lock().unwrap();
        if path == "/v1/catalog/services" {
            let mut body = r#"{"consul":[]"#.to_owned();
            for (name, _) in state.services.iter().filter(|(_, (_, ports))| !ports.is_empty()) {
                write!(body, ",{}:[]", serde_json::to_string(name).unwrap()).unwrap();
            }
            return (state.names_index, 200, body + "}");
        }
        if path == "/v1/kv/xds/" {
            let all: Vec<&String> = state.keys.keys().collect();
            let status = if all.is_empty() { 404 } else { 200 };
            return (state.keys_index, status, serde_json::to_string(&all).unwrap());
        }
        if let Some(key) = path.strip_prefix("/v1/kv/") {
            use base64::Engine as _;
            let encode = |v: &String| base64::engine::general_purpose::STANDARD.encode(v);
            return match state.keys.get(key) {
                Some(v) => {
                    let body = format!(r#"[{{"Key":"{key}","Value":"{}"}}]"#, encode(v));
                    (state.keys_index, 200, body)
                }
                None => (state.keys_index, 404, String::new()),
            };
        }
        if path == "/v1/agent/self" {
            let body = format!(
                r#"{{"Config":{{"Server":{}}}}}"#,
                self.is_server.load(Ordering::SeqCst)
            );
            return (state.index, 200, body);
        }
        let name = path.strip_prefix("/v1/health/service/").unwrap_or_default();
        let canary = (100, vec![8300]);
        let found = if name == "consul" {
            Some(&canary)
        } else {
            state.services.get(name)
        };
        let (index, ports) = found.cloned().unwrap_or((100, Vec::new()));
        (index, 200, health(name, &ports))
    }
}

/// A body of `/v1/health/service/NAME`.
pub fn health(name: &str, ports: &[u16]) -> String {
    let name = serde_json::to_string(name).unwrap();
    let one = |port: &u16| {
        format!(
            r#"{{"Node":{{"Node":"n","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"Meta":null}},
                "Service":{{"ID":"i{port}","Service":{name},"Tags":null,"Address":"","Port":{port},"Meta":null,
                "Weights":{{"Passing":1,"Warning":1}}}},"Checks":[]}}"#
        )
    };
    format!("[{}]", ports.iter().map(one).collect::<Vec<_>>().join(","))
}

async fn answer(fake: Arc<Fake>, request: Request<hyper::body::Incoming>) -> Result<Response, h2::Error> {
    let open = fake.open.fetch_add(1, Ordering::SeqCst) + 1;
    fake.most.fetch_max(open, Ordering::SeqCst);
    let _open = Open(&fake.open);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = |key: &str| {
        query
            .split('&')
            .find_map(|p| p.strip_prefix(key))
            .map(str::to_owned)
    };
    let path = percent_encoding::percent_decode_str(request.uri().path())
        .decode_utf8()
        .unwrap()
        .into_owned();
    let token = request
        .headers()
        .get("x-consul-token")
        .map(|v| v.to_str().unwrap().to_owned());
    let ask = Ask {
        path,
        query: query.clone(),
        consistent: query.split('&').any(|p| p == "consistent"),
        probe: value("filter=").is_some(),
        index: value("index=").map(|i| i.parse().unwrap()),
        token: token.unwrap_or_default(),
    };
    let reads = usize::from(ask.index.is_none());
    let now = fake.reads.fetch_add(reads, Ordering::SeqCst) + reads;
    fake.most_reads.fetch_max(now, Ordering::SeqCst);
    let _read = ask.index.is_none().then(|| Open(&fake.reads));
    fake.log.lock().unwrap().push(ask.clone());
    fake.asked.send_modify(|n| *n += 1);
    let mut wake = fake.wake.subscribe();
    if ask.index.is_none() && fake.slow.load(Ordering::SeqCst) {
        // An answer takes a moment: else no two reads would ever be open at once.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    loop {
        let scripted = (fake.script.lock().unwrap())(&ask);
        let (status, index, body) = match scripted {
            Some(Reply::Hang) => {
                let _ = wake.changed().await;
                continue;
            }
            Some(Reply::Drop(reason)) => return Err(reason.into()),
            Some(Reply::Odd {
                status,
                headers,
                body,
                rest,
            }) => return Ok(odd(status, &headers, body, rest)),
            Some(Reply::Say { status, index, body }) => (status, index, body),
            None => {
                let (index, status, body) = fake.own(&ask.path);
                if ask.index.is_some_and(|asked| index <= asked) {
                    fake.asked.send_modify(|n| *n += 1);
                    let cut = fake.cut.lock().unwrap().clone();
                    let Some((time, reply)) = cut else {
                        let _ = wake.changed().await;
                        continue;
                    };
                    let wait = value("wait=").map(|w| w.trim_end_matches("ms").parse().unwrap());
                    let wait = wait.map_or(time, |wait| time.min(Duration::from_millis(wait)));
                    match tokio::time::timeout(wait, wake.changed()).await {
                        Ok(_) => continue,
                        Err(_) if wait < time => (200, index, body),
                        Err(_) => match reply {
                            Reply::Say { status, index, body } => (status, index, body),
                            _ => return Err(h2::Reason::INTERNAL_ERROR.into()),
                        },
                    }
                } else {
                    let body = if ask.probe { "[]".to_owned() } else { body };
                    let body = [("peer=", "PeerName"), ("partition=", "Partition")]
                        .into_iter()
                        .filter_map(|(key, field)| Some((field, value(key)?)))
                        .fold(body, |body, (field, of)| {
                            body.replace(r#""Node":{"#, &format!(r#""Node":{{"{field}":"{of}","#))
                        });
                    (status, index, body)
                }
            }
        };
        let streamed = fake.streams.load(Ordering::SeqCst)
            && ask.index.is_some()
            && value("near=").is_none()
            && ask.path.starts_with("/v1/health/service/");
        let headers = if streamed {
            streamed_headers(index)
        } else {
            vec![
                ("x-consul-index", index.to_string()),
                ("x-consul-knownleader", "true".to_owned()),
            ]
        };
        return Ok(odd(status, &headers, body, Rest::Nothing));
    }
}

/// Of the streaming backend: it never knows a leader.
pub fn streamed_headers(index: u64) -> Vec<(&'static str, String)> {
    vec![
        ("x-consul-index", index.to_string()),
        ("x-consul-knownleader", "false".to_owned()),
        ("x-consul-lastcontact", "0".to_owned()),
        ("x-consul-query-backend", "streaming".to_owned()),
    ]
}

fn odd(status: u16, headers: &[(&'static str, String)], body: String, rest: Rest) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    let sent = futures::stream::iter([Ok(body.clone())]);
    let body = match rest {
        Rest::Nothing => body.into(),
        Rest::Cut => {
            // What is there is sent while the rest is waited for.
            let cut = futures::stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            axum::body::Body::from_stream(sent.chain(cut))
        }
        Rest::Never => axum::body::Body::from_stream(sent.chain(futures::stream::pending())),
    };
    response.body(body).unwrap()
}
