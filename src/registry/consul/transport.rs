//! The connections: rs-consul's client type over TCP, with HTTP/2 over TLS where the agent
//! offers it (hundreds of watches on one connection), and HTTP/1.1 otherwise; or the agent's
//! unix socket, which that type does not support.
//!
//! Never a plain `h2c` connection (agents do not speak it), and never another TLS provider than ring.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rs_consul::HttpsClient;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;

use super::error::Failure;
use super::send_signal::InFlight;
use super::tls::{Tls, TlsFiles};

/// What a connection over HTTP/1.1 reads ahead, also while its answer waits for a share of the budget; and the longest
/// head of an answer.
const READ_BUFFER: usize = 64 << 10;

/// A frozen agent is seen after two of these over HTTP/2; without, never.
const KEEPALIVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
/// Streams until the other end has announced how many it allows: it refuses those beyond that.
const FIRST_STREAMS: usize = 8;
/// Agents count idle connections against the limit per client: few are kept, and not for long.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(10);
/// Precedes the path of a socket.
const UNIX: &str = "unix://";

pub(super) type Body = BoxBody<Bytes, Infallible>;

/// How connections to one agent are made.
#[derive(Debug)]
pub struct Transport {
    address: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// hyper-rustls wants a configuration also where there is no TLS: one that trusts no authority.
    Plain(ClientConfig),
    Tls(Tls),
    Unix(PathBuf),
}

impl Transport {
    /// `http://host:port`, `https://host:port` (no trailing slash), or `unix:///path`. `files` count
    /// for https only. Blocks on a disk for these.
    ///
    /// # Errors
    /// [`Failure::Roots`] for https on a machine without root certificates; what is wrong with the files.
    pub fn new(address: &str, files: TlsFiles) -> Result<Self, Failure> {
        let way = if let Some(path) = address.strip_prefix(UNIX) {
            Way::Unix(path.into())
        } else if address.starts_with("https:") {
            Way::Tls(Tls::load(files)?)
        } else {
            Way::Plain(trusts_none()?)
        };
        Ok(Self {
            address: address.to_owned(),
            way,
        })
    }

    /// As configured, for messages.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What precedes the path of a request.
    pub(super) fn base(&self) -> &str {
        match self.way {
            // The name is not used, but HTTP/1.1 needs one.
            Way::Unix(_) => "http://localhost",
            Way::Plain(_) | Way::Tls(_) => &self.address,
        }
    }

    /// Reads the files of TLS again; `None`: nothing new. Blocks on a disk.
    pub(super) fn check(&self) -> Option<Result<(), Failure>> {
        match &self.way {
            Way::Tls(tls) => tls.check(),
            Way::Plain(_) | Way::Unix(_) => None,
        }
    }

    /// By TLS, without a certificate of ours.
    pub(super) fn is_anonymous(&self) -> bool {
        matches!(&self.way, Way::Tls(tls) if tls.is_anonymous())
    }

    fn generation(&self) -> u64 {
        match &self.way {
            Way::Tls(tls) => tls.current().generation,
            Way::Plain(_) | Way::Unix(_) => 0,
        }
    }

    fn open(&self) -> Open {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(READ_BUFFER)
            .http2_initial_max_send_streams(FIRST_STREAMS)
            .http2_keep_alive_interval(KEEPALIVE)
            .http2_keep_alive_timeout(KEEPALIVE);
        let (generation, http) = match &self.way {
            Way::Unix(path) => {
                let connections: Client<_, Body> = builder.build(Socket(path.as_path().into()));
                (0, Http::Unix(connections))
            }
            Way::Plain(tls) => (0, Http::Tcp(tcp(&builder, tls.clone(), None))),
            Way::Tls(tls) => {
                let current = tls.current();
                let name = tls.server_name.clone().map(FixedServerNameResolver::new);
                let connections = tcp(&builder, current.config.clone(), name);
                (current.generation, Http::Tcp(connections))
            }
        };
        Open {
            generation,
            http,
            in_flight: InFlight::default(),
        }
    }
}

/// Plain HTTP needs no certificates, and must start where there are none.
fn trusts_none() -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(tls
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn tcp(builder: &Builder, tls: ClientConfig, name: Option<FixedServerNameResolver>) -> HttpsClient {
    let mut http = HttpConnector::new();
    http.enforce_http(false); // https goes through it too
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.set_keepalive(Some(KEEPALIVE * 3));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let connector = match name {
        Some(name) => connector.with_server_name_resolver(name),
        None => connector,
    };
    builder.build(connector.enable_all_versions().wrap_connector(http))
}

/// A pool of connections. The agent allows 250 HTTP/2 streams on one connection and the pool holds
/// one of them: no more than about 200 requests at once. When the files of TLS have changed it is
/// replaced by a new one; requests in flight end on the old connections.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    transport: Arc<Transport>,
    open: Arc<ArcSwap<Open>>,
}

#[derive(Debug)]
struct Open {
    generation: u64,
    http: Http,
    in_flight: InFlight,
}

#[derive(Clone, Debug)]
pub(super) enum Http {
    Tcp(HttpsClient),
    Unix(Client<Socket, Body>),
}

impl Pool {
    pub(super) fn new(transport: Arc<Transport>) -> Self {
        let open = Arc::new(ArcSwap::from_pointee(transport.open()));
        Self { transport, open }
    }

    pub(super) const fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// The current connections, and the requests in flight on them.
    pub(super) fn http(&self) -> (Http, InFlight) {
        let mut open = self.open.load_full();
        if open.generation != self.transport.generation() {
            open = Arc::new(self.transport.open());
            self.open.store(open.clone());
        }
        (open.http.clone(), open.in_flight.clone())
    }
}

impl Http {
    pub(super) async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Tcp(http) => http.request(request).await,
            Self::Unix(http) => http.request(request).await,
        }
    }
}

/// Connects to a unix socket, whatever the URL says.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<Path>);

impl tower::Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    }
}
