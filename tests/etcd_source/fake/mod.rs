//! A scripted etcd member on loopback: Range, Watch and Authenticate over plain HTTP/2.
//!
//! Left alone it behaves as etcd does (revisions, transactions, history, compaction, progress); a script may
//! answer any request otherwise. Never sleeps.
//!
//! Long because the parts of one member share one history.

mod range;
mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use etcd_client::proto::{
    PbAuthenticateResponse, PbEvent, PbKeyValue, PbResponseHeader, PbStatusResponse, PbWatchResponse,
};
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::wire::{
    Answer, AuthenticateRequest, CreateRequest, Messages, RangeRequest, Sender, WatchRequest, fail, framed,
    once, response,
};

/// `grpc-status` of a stream that ends in order.
pub const OK: i32 = 0;
pub const OUT_OF_RANGE: i32 = 11;
pub const UNAVAILABLE: i32 = 14;
pub const UNAUTHENTICATED: i32 = 16;
pub const INVALID_ARGUMENT: i32 = 3;
pub const FAILED_PRECONDITION: i32 = 9;
pub const PERMISSION_DENIED: i32 = 7;

/// A request, as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Range {
        key: String,
        revision: i64,
        token: String,
    },
    Watch {
        key: String,
        from: i64,
        token: String,
    },
    Progress {
        key: String,
    },
    /// A read of one key.
    Head {
        key: String,
    },
    /// A read of a range that wants no keys, or only those that were written since.
    Compare {
        key: String,
        since: i64,
    },
    Login {
        user: String,
        password: String,
    },
}

/// What a script answers.
#[derive(Debug)]
pub enum Reply {
    Fail(i32, &'static str),
    /// For a watch: these messages, and then.
    Say(Vec<PbWatchResponse>, Then),
    /// Nothing, ever.
    Hang,
}

/// How a scripted watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Silent, but for progress that is asked for.
    Stay,
    /// As etcd would, without history.
    Follow,
    /// Ends with this status.
    End(i32),
}

type Script = Box<dyn FnMut(&Ask) -> Option<Reply> + Send>;

pub struct Fake {
    data: Mutex<Data>,
    script: Mutex<Script>,
    log: Mutex<Vec<Ask>>,
    down: AtomicBool,
    connections: AtomicUsize,
    cut: Mutex<CancellationToken>,
}

struct Data {
    revision: i64,
    compacted: i64,
    cluster_id: u64,
    raft_term: u64,
    raft_index: u64,
    keys: BTreeMap<Vec<u8>, PbKeyValue>,
    history: Vec<PbEvent>,
    watchers: Vec<Watcher>,
    tokens: usize,
}

struct Watcher {
    key: Vec<u8>,
    end: Vec<u8>,
    to: Sender,
}

impl Fake {
    pub async fn start() -> (Arc<Self>, String) {
        let fake = Arc::new(Self {
            data: Mutex::new(Data {
                revision: 1,
                compacted: 0,
                cluster_id: 77,
                raft_term: 2,
                raft_index: 1_000,
                keys: BTreeMap::new(),
                history: Vec::new(),
                watchers: Vec::new(),
                tokens: 0,
            }),
            script: Mutex::new(Box::new(|_| None)),
            log: Mutex::default(),
            down: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            cut: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(fake.clone().listen(listener));
        (fake, address)
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            self.connections.fetch_add(1, Ordering::SeqCst);
            if self.down.load(Ordering::SeqCst) {
                continue; // closed at once
            }
            let cut = self.cut.lock().unwrap().clone();
            let fake = self.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| fake.clone().answer(request));
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = serving => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    }

    pub fn script(&self, script: impl FnMut(&Ask) -> Option<Reply> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Cuts all connections, and those to come as they come.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        if down {
            std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
        }
    }

    /// So many connections were accepted, also those that were closed at once.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many such requests there were.
    pub fn count(&self, wanted: impl Fn(&Ask) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|ask| wanted(ask)).count()
    }

    /// The revisions that watches began at, in their order.
    pub fn watched_from(&self) -> Vec<i64> {
        let from = |ask: &Ask| match ask {
            Ask::Watch { from, .. } => Some(*from),
            _ => None,
        };
        self.log.lock().unwrap().iter().filter_map(from).collect()
    }

    /// One transaction: keys with values; none deletes. Gives its revision.
    pub fn txn(&self, writes: &[(&str, Option<&str>)]) -> i64 {
        let mut data = self.data.lock().unwrap();
        let events = data.write(writes);
        let header = data.header();
        for watcher in &data.watchers {
            let some: Vec<_> = events.iter().filter(|e| watcher.sees(e)).cloned().collect();
            if !some.is_empty() {
                let message = PbWatchResponse {
                    header: Some(header),
                    events: some,
                    ..PbWatchResponse::default()
                };
                let _ = watcher.to.send(Ok(Frame::data(framed(&message))));
            }
        }
        data.revision
    }

    /// The same, and no open watch is told.
    pub fn write_unseen(&self, writes: &[(&str, Option<&str>)]) -> Vec<PbEvent> {
        self.data.lock().unwrap().write(writes)
    }

    /// History up to here is forgotten.
    pub fn compact(&self) {
        let mut data = self.data.lock().unwrap();
        data.compacted = data.revision;
        data.history.clear();
    }

    pub fn set_cluster_id(&self, id: u64) {
        self.data.lock().unwrap().cluster_id = id;
    }

    /// Ends all watches with this status.
    pub fn cut_watches(&self, code: i32) {
        self.cut_watch("", code);
    }

    /// Ends the watches of a prefix with this status.
    pub fn cut_watch(&self, prefix: &str, code: i32) {
        let mut data = self.data.lock().unwrap();
        data.watchers.retain(|watcher| {
            let cut = watcher.key.starts_with(prefix.as_bytes());
            if cut {
                fail(&watcher.to, code, "cut");
            }
            !cut
        });
    }

    /// As it was when it was new, but for its Raft log: term and index.
    pub fn wipe(&self, raft_term: u64, raft_index: u64) {
        let mut data = self.data.lock().unwrap();
        data.revision = 1;
        data.keys.clear();
        data.history.clear();
        data.raft_term = raft_term;
        data.raft_index = raft_index;
    }

    pub fn header(&self) -> PbResponseHeader {
        self.data.lock().unwrap().header()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let token = request
            .headers()
            .get("token")
            .map_or(String::new(), |t| t.to_str().unwrap().to_owned());
        let path = request.uri().path().to_owned();
        let (to, frames) = mpsc::unbounded_channel();
        let mut asked = Messages::new(request.into_body());
        match path.as_str() {
            "/etcdserverpb.KV/Range" => {
                let Some(request) = asked.next::<RangeRequest>().await else {
                    return Ok(response(frames));
                };
                match self.asked(range::ask(&request, token)) {
                    Some(reply) => plain(&reply, to),
                    None => match self.data.lock().unwrap().range(&request) {
                        Some(response) => once(&to, &response),
                        None => fail(&to, OUT_OF_RANGE, range::COMPACTED),
                    },
                }
            }
            "/etcdserverpb.Auth/Authenticate" => {
                let Some(request) = asked.next::<AuthenticateRequest>().await else {
                    return Ok(response(frames));
                };
                let AuthenticateRequest { user, password } = request;
                match self.asked(Ask::Login { user, password }) {
                    Some(reply) => plain(&reply, to),
                    None => {
                        let mut data = self.data.lock().unwrap();
                        data.tokens += 1;
                        let token = format!("token-{}", data.tokens);
                        let header = Some(data.header());
                        once(&to, &PbAuthenticateResponse { header, token });
                    }
                }
            }
            "/etcdserverpb.Maintenance/Status" => {
                let data = self.data.lock().unwrap();
                let status = PbStatusResponse {
                    header: Some(data.header()),
                    raft_index: data.raft_index,
                    ..PbStatusResponse::default()
                };
                once(&to, &status);
            }
            "/etcdserverpb.Watch/Watch" => drop(tokio::spawn(self.watch(asked, token, to))),
            other => panic!("{other} is not faked"),
        }
        Ok(response(frames))
    }

    async fn watch(self: Arc<Self>, mut asked: Messages, token: String, to: Sender) {
        let Some(create) = asked.next::<WatchRequest>().await.and_then(|r| r.create) else {
            return;
        };
        let key = text(&create.key);
        let ask = Ask::Watch {
            key: key.clone(),
            from: create.from,
            token,
        };
        match self.asked(ask) {
            None => self.data.lock().unwrap().follow(&create, true, &to),
            Some(Reply::Fail(code, text)) => return fail(&to, code, text),
            Some(Reply::Hang) => {}
            Some(Reply::Say(messages, then)) => {
                for message in messages {
                    let _ = to.send(Ok(Frame::data(framed(&message))));
                }
                match then {
                    Then::Stay => {}
                    Then::Follow => self.data.lock().unwrap().follow(&create, false, &to),
                    Then::End(code) => return fail(&to, code, "cut"),
                }
            }
        }
        while let Some(request) = asked.next::<WatchRequest>().await {
            if request.progress.is_some() && self.asked(Ask::Progress { key: key.clone() }).is_none() {
                let message = PbWatchResponse {
                    header: Some(self.header()),
                    watch_id: -1,
                    ..PbWatchResponse::default()
                };
                let _ = to.send(Ok(Frame::data(framed(&message))));
            }
        }
    }

    fn asked(&self, ask: Ask) -> Option<Reply> {
        let reply = (self.script.lock().unwrap())(&ask);
        self.log.lock().unwrap().push(ask);
        reply
    }
}

impl Data {
    const fn header(&self) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: self.cluster_id,
            member_id: 1,
            revision: self.revision,
            raft_term: self.raft_term,
        }
    }

    fn write(&mut self, writes: &[(&str, Option<&str>)]) -> Vec<PbEvent> {
        self.revision += 1;
        self.raft_index += 1;
        let mut events = Vec::new();
        for (key, value) in writes {
            let key = key.as_bytes().to_vec();
            let kv = match value {
                Some(value) => {
                    let old = self.keys.get(&key);
                    let kv = PbKeyValue {
                        key: key.clone(),
                        value: value.as_bytes().to_vec(),
                        create_revision: old.map_or(self.revision, |old| old.create_revision),
                        mod_revision: self.revision,
                        version: 1,
                        lease: 0,
                    };
                    self.keys.insert(key, kv.clone());
                    kv
                }
                None => {
                    self.keys.remove(&key);
                    PbKeyValue {
                        key,
                        mod_revision: self.revision,
                        ..PbKeyValue::default()
                    }
                }
            };
            events.push(PbEvent {
                r#type: i32::from(value.is_none()),
                kv: Some(kv),
                prev_kv: None,
            });
        }
        self.history.extend(events.iter().cloned());
        events
    }

    /// `created`, history from there (a message for each revision), and what is to come.
    fn follow(&mut self, create: &CreateRequest, anew: bool, to: &Sender) {
        let watcher = Watcher {
            key: create.key.clone(),
            end: create.end.clone(),
            to: to.clone(),
        };
        let message = |message: PbWatchResponse| drop(to.send(Ok(Frame::data(framed(&message)))));
        if anew {
            message(created(self.header()));
            if create.from <= self.compacted {
                // As etcd does it: with a header without a revision.
                return message(PbWatchResponse {
                    header: Some(PbResponseHeader {
                        revision: 0,
                        ..self.header()
                    }),
                    canceled: true,
                    compact_revision: self.compacted,
                    ..PbWatchResponse::default()
                });
            }
            let mut missed: BTreeMap<i64, Vec<PbEvent>> = BTreeMap::new();
            for event in self.history.iter().filter(|e| watcher.sees(e)) {
                let at = event.kv.as_ref().unwrap().mod_revision;
                if at >= create.from {
                    missed.entry(at).or_default().push(event.clone());
                }
            }
            for events in missed.into_values() {
                message(PbWatchResponse {
                    header: Some(self.header()),
                    events,
                    ..PbWatchResponse::default()
                });
            }
        }
        self.watchers.push(watcher);
    }
}

impl Watcher {
    fn sees(&self, event: &PbEvent) -> bool {
        let key = &event.kv.as_ref().unwrap().key;
        *key >= self.key && *key < self.end
    }
}

/// The first message of a watch.
pub fn created(header: PbResponseHeader) -> PbWatchResponse {
    PbWatchResponse {
        header: Some(header),
        created: true,
        ..PbWatchResponse::default()
    }
}

/// A message with events.
pub fn told(header: PbResponseHeader, events: &[PbEvent], fragment: bool) -> PbWatchResponse {
    PbWatchResponse {
        header: Some(header),
        events: events.to_vec(),
        fragment,
        ..PbWatchResponse::default()
    }
}

/// A watch that is refused in its stream, which stays open.
pub fn canceled(header: PbResponseHeader, reason: &str) -> Reply {
    let message = PbWatchResponse {
        header: Some(header),
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason: reason.to_owned(),
        ..PbWatchResponse::default()
    };
    Reply::Say(vec![message], Then::Stay)
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// A scripted answer to a call that is no stream.
fn plain(reply: &Reply, to: Sender) {
    match reply {
        Reply::Fail(code, text) => fail(&to, *code, text),
        Reply::Hang => drop(tokio::spawn(async move { to.closed().await })),
        Reply::Say(..) => panic!("only a watch is told something"),
    }
}
