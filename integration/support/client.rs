//! A client of services, through Envoy: HTTP by host, gRPC by service name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::Service as _;

use super::http::Http;
use super::wait;

/// No answer in so long is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// So many requests in a row show who takes part.
const SAMPLE: usize = 24;

/// A request that servers answer with their name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// GET with this `Host`.
    Http { host: String, path: String },
    /// The same by HTTP/2.
    Http2 { host: String, path: String },
    /// A method whose name begins with `Watch` answers with a stream.
    Grpc { service: String, method: String },
}

impl Call {
    /// GET / with this `Host`.
    pub(crate) fn http(host: &str) -> Self {
        Self::Http {
            host: host.to_owned(),
            path: "/".to_owned(),
        }
    }

    /// The method `Get` of this service, on any authority.
    pub(crate) fn grpc(service: &str) -> Self {
        Self::Grpc {
            service: service.to_owned(),
            method: "Get".to_owned(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, path } => write!(f, "GET http://{host}{path}"),
            Self::Http2 { host, path } => write!(f, "GET http://{host}{path} by HTTP/2"),
            Self::Grpc { service, method } => write!(f, "gRPC {service}/{method}"),
        }
    }
}

/// Why a call got no server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `http 503`, `grpc Unavailable`, or `no answer`.
    pub(crate) code: String,
    /// In whose words.
    pub(crate) text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text.replace('\n', " "))
    }
}

/// A client with its own connections to one Envoy listener.
pub(crate) struct Client {
    address: SocketAddr,
    http: Http,
    channel: Channel,
    /// HTTP/2, by host.
    http2: Mutex<BTreeMap<String, Channel>>,
}

impl Client {
    /// Connects with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("a plain address")
            .tcp_nodelay(true)
            .connect_lazy();
        Self {
            address,
            http: Http::keeping(),
            channel,
            http2: Mutex::default(),
        }
    }

    /// One request: the name of the server that answered.
    pub(crate) async fn call(&self, call: &Call) -> Result<String, Refusal> {
        let answer = async {
            match call {
                Call::Http { host, path } => self.get(host, path).await,
                Call::Http2 { host, path } => self.get_by_http2(host, path).await,
                Call::Grpc { service, method } => self.rpc(service, method).await,
            }
        };
        let late = || no_answer(format!("in {DEADLINE:?}"));
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        answer.unwrap_or_else(|_| Err(late()))
    }

    async fn get(&self, host: &str, path: &str) -> Result<String, Refusal> {
        let url = format!("http://{}{path}", self.address);
        let reply = self.http.send("GET", &url, Some(host), "").await;
        let reply = reply.map_err(no_answer)?;
        answered(reply.status, &reply.body)
    }

    async fn get_by_http2(&self, host: &str, path: &str) -> Result<String, Refusal> {
        let mut channel = self.channel_of(host);
        let failed = |error: &dyn fmt::Debug| no_answer(format!("{error:?}"));
        let ready = std::future::poll_fn(|context| channel.poll_ready(context)).await;
        ready.map_err(|error| failed(&error))?;
        let request = http::Request::get(path)
            .body(Body::empty())
            .expect("a plain path");
        let response = channel.call(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        answered(status, &String::from_utf8_lossy(&body))
    }

    /// Its connection for requests to this host.
    fn channel_of(&self, host: &str) -> Channel {
        let mut channels = self.http2.lock().expect("nobody panics");
        let connect = || {
            Endpoint::from_shared(format!("http://{}", self.address))
                .expect("a plain address")
                .origin(format!("http://{host}").parse().expect("a plain host"))
                .tcp_nodelay(true)
                .connect_lazy()
        };
        channels.entry(host.to_owned()).or_insert_with(connect).clone()
    }

    async fn rpc(&self, service: &str, method: &str) -> Result<String, Refusal> {
        let status = |s: &tonic::Status| Refusal {
            code: format!("grpc {:?}", s.code()),
            text: s.message().to_owned(),
        };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| no_answer(format!("{error:?}")))?;
        let path = PathAndQuery::try_from(format!("/{service}/{method}")).expect("a plain path");
        let codec = tonic_prost::ProstCodec::<String, String>::default();
        let request = tonic::Request::new(String::new());
        if !method.starts_with("Watch") {
            let answer = grpc.unary(request, path, codec).await;
            return answer.map(tonic::Response::into_inner).map_err(|s| status(&s));
        }
        let answer = grpc.server_streaming(request, path, codec).await;
        let mut messages = answer.map_err(|s| status(&s))?.into_inner();
        let mut last = String::new();
        while let Some(message) = messages.message().await.map_err(|s| status(&s))? {
            last = message;
        }
        Ok(last)
    }

    /// Who answers a row of requests, and how often.
    pub(crate) async fn who(&self, call: &Call) -> Result<BTreeMap<String, usize>, Refusal> {
        let mut seen = BTreeMap::new();
        for _ in 0..SAMPLE {
            *seen.entry(self.call(call).await?).or_default() += 1;
        }
        Ok(seen)
    }

    /// Waits until exactly these servers answer.
    pub(crate) async fn reaches(&self, call: &Call, wanted: &[&str]) {
        let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
        let what = format!("{call} is answered by {wanted:?} and nobody else");
        wait::until(wait::PATIENCE, &what, async || {
            let seen = self.who(call).await.map_err(|refusal| refusal.to_string())?;
            let names: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
            wait::holds(names == wanted, || format!("{seen:?}"))
        })
        .await;
    }

    /// Waits until the call is refused with this code.
    pub(crate) async fn is_refused(&self, call: &Call, code: &str) {
        let what = format!("{call} is refused with {code}");
        wait::until(wait::PATIENCE, &what, async || match self.call(call).await {
            Ok(server) => Err(format!("{server} answers")),
            Err(refusal) => wait::holds(refusal.code == code, || refusal.to_string()),
        })
        .await;
    }
}

fn no_answer(text: String) -> Refusal {
    Refusal {
        code: "no answer".into(),
        text,
    }
}

/// The name of the server, whatever came before it in the body.
fn answered(status: u16, body: &str) -> Result<String, Refusal> {
    if status == 200 {
        return Ok(body.trim_start().to_owned());
    }
    Err(Refusal {
        code: format!("http {status}"),
        text: body.to_owned(),
    })
}
