//! A client of services, through Envoy: HTTP by host, gRPC by service name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

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
    Http {
        host: String,
        path: String,
    },
    Grpc {
        service: String,
        method: String,
    },
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
        }
    }

    /// One request: the name of the server that answered.
    pub(crate) async fn call(&self, call: &Call) -> Result<String, Refusal> {
        match call {
            Call::Http { host, path } => self.get(host, path).await,
            Call::Grpc { service, method } => {
                let late = || Refusal {
                    code: "no answer".into(),
                    text: format!("in {DEADLINE:?}"),
                };
                let answer = tokio::time::timeout(DEADLINE, self.unary(service, method));
                answer.await.unwrap_or_else(|_| Err(late()))
            }
        }
    }

    async fn get(&self, host: &str, path: &str) -> Result<String, Refusal> {
        let url = format!("http://{}{path}", self.address);
        let none = |text| Refusal {
            code: "no answer".into(),
            text,
        };
        let reply = self.http.send("GET", &url, Some(host), "").await.map_err(none)?;
        if reply.status == 200 {
            return Ok(reply.body);
        }
        Err(Refusal {
            code: format!("http {}", reply.status),
            text: reply.body,
        })
    }

    async fn unary(&self, service: &str, method: &str) -> Result<String, Refusal> {
        let status = |s: &tonic::Status| Refusal {
            code: format!("grpc {:?}", s.code()),
            text: s.message().to_owned(),
        };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let none = |e: tonic::transport::Error| Refusal {
            code: "no answer".into(),
            text: format!("{e:?}"),
        };
        grpc.ready().await.map_err(none)?;
        let path = PathAndQuery::try_from(format!("/{service}/{method}")).expect("a plain path");
        let codec = tonic_prost::ProstCodec::<String, String>::default();
        let answer = grpc.unary(tonic::Request::new(String::new()), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|s| status(&s))
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
