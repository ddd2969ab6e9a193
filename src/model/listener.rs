//! A listener that the operator defines. Pure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A listener that Envoys get by LDS; its route configuration has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub bind: Bind,
    /// The exposure it serves.
    pub exposure: Arc<str>,
    /// The fleets (`node.cluster`) that get it; empty: all.
    pub fleets: Vec<Arc<str>>,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// Protocols that a request may be upgraded to, where the service speaks HTTP/1.
    pub upgrades: Vec<String>,
    /// Only by TLS.
    pub tls: Option<ListenerTls>,
    /// HTTP/3 is served, too, by UDP on the same address, and answers name this port for it.
    pub http3: Option<u16>,
    /// Where requests are logged.
    pub access_log: Option<AccessLog>,
    /// Requests are traced.
    pub tracing: Option<Tracing>,
    /// Connections begin with a PROXY header, of version 1 or 2, that names the client.
    pub proxy_protocol: bool,
    /// Hops in front of it whose `x-forwarded-for` is believed.
    pub trusted_hops: u32,
    /// Connections end after this time; `None`: never.
    pub max_connection_duration: Option<Duration>,
    /// What comes by it.
    pub traffic: Traffic,
    /// The cluster by which Envoys send errors to the bridge, while a rollout is judged; `None`: they do not.
    pub errors: Option<Arc<str>>,
}

/// What comes by the connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Requests, and connections by TLS that a service takes by their name (`sni=`).
    Http,
    /// Connections that services take whole.
    Tcp {
        /// All are for this service. `None`: for the one that has the port (`port=`), or the name that is asked for.
        service: Option<Arc<str>>,
    },
}

/// How a listener proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Names of `[tls.NAME]` with a certificate: the one that fits the host that a client names, or else the first.
    pub certificates: Vec<Arc<str>>,
    /// Clients must show a certificate that the CA of this `[tls.NAME]` signed.
    pub client_ca: Option<Arc<str>>,
}

/// Where requests are logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where.
    pub to: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
}

/// Where requests are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Envoy's standard output.
    Stdout,
    /// A file on Envoy's machine.
    File(String),
    /// A service that speaks `envoy.service.accesslog.v3.AccessLogService`.
    Service(Arc<str>),
}

/// Which requests are traced, and where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// A service that speaks `opentelemetry.proto.collector.trace.v1.TraceService`.
    pub collector: Arc<str>,
    /// How many of the requests that come without a decision, in millionths.
    pub millionths: u32,
    /// `service.name` of the spans.
    pub name: String,
}

/// How a line of the access log looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Envoy's own.
    Text,
    /// JSON with the fields of Envoy's own.
    Json,
    /// A format of the operator's, without the end of the line.
    Custom(String),
}

/// Behind the name of a listener: no name of one holds a slash.
const HTTP3: &str = "/h3";

impl Listener {
    /// What the resource of its HTTP/3 is called, if it serves that.
    #[must_use]
    pub fn http3_name(&self, name: &str) -> Option<Arc<str>> {
        self.http3.map(|_| format!("{name}{HTTP3}").into())
    }

    /// Services that it sends something to whatever services declare: all of its connections, logs, spans.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        let whole = match &self.traffic {
            Traffic::Tcp { service } => service.as_ref(),
            Traffic::Http => None,
        };
        whole.into_iter().chain(self.collectors())
    }

    /// Services that it sends something of each request to by itself: logs and spans.
    pub fn collectors(&self) -> impl Iterator<Item = &Arc<str>> {
        let log = self.access_log.as_ref().and_then(|log| match &log.to {
            LogTarget::Service(name) => Some(name),
            LogTarget::Stdout | LogTarget::File(_) => None,
        });
        log.into_iter()
            .chain(self.tracing.as_ref().map(|tracing| &tracing.collector))
    }

    /// With nothing said but where, and which exposure.
    #[must_use]
    pub fn new(bind: Bind, exposure: Arc<str>) -> Self {
        Self {
            bind,
            exposure,
            fleets: Vec::new(),
            http10: true,
            upgrades: vec!["websocket".to_owned()],
            tls: None,
            http3: None,
            access_log: None,
            tracing: None,
            proxy_protocol: false,
            trusted_hops: 0,
            max_connection_duration: None,
            traffic: Traffic::Http,
            errors: None,
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A socket.
    Address(SocketAddr),
    /// Inside the same Envoy only (`internal_listener`).
    Internal,
}
