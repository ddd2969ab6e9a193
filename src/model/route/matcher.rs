//! Which paths a route takes. Pure.

use crate::model::path::Paths;
use crate::text::clip;

/// What of a request is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matcher {
    /// This path and what is below it; starts with `/`, and ends with none unless it is the root.
    Prefix(String),
    /// All paths that begin with these characters, `path=/orders*`.
    Characters(String),
    /// This path alone, `exact=/orders`.
    Exact(String),
    /// Paths that fit as a whole, `regex=/orders/[0-9]+`.
    Regex(String),
    /// A gRPC service, or one method of it.
    Grpc(GrpcMethod),
    /// No requests: all connections to this port, `port=5432`.
    Port(u16),
    /// No requests: connections by TLS for one of the route's hosts, `sni=db.example.com`.
    Name {
        /// Envoy ends TLS with a certificate of the listener; else the server does.
        terminate: bool,
    },
}

/// A gRPC service by its full name, and maybe one method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcMethod {
    /// e.g. `shop.Orders`
    pub service: String,
    /// e.g. `Get`
    pub method: Option<String>,
}

impl Matcher {
    /// Which paths it takes. Different words for the same paths are equal here.
    #[must_use]
    pub fn paths(&self) -> Paths {
        match self {
            Self::Prefix(path) => Paths::Segments(path.clone()),
            Self::Characters(path) => Paths::Characters(path.clone()),
            Self::Exact(path) => Paths::Exactly(path.clone()),
            Self::Regex(regex) => Paths::Pattern(regex.clone()),
            Self::Grpc(GrpcMethod { service, method }) => match method {
                Some(method) => Paths::Exactly(format!("/{service}/{method}")),
                None => Paths::Characters(format!("/{service}/")),
            },
            Self::Port(_) | Self::Name { .. } => Paths::Segments("/".to_owned()),
        }
    }

    /// Whether it takes connections, and no requests.
    #[must_use]
    pub const fn is_of_connections(&self) -> bool {
        matches!(self, Self::Port(_) | Self::Name { .. })
    }

    /// The word that declares it, without quotes.
    #[must_use]
    pub fn word(&self) -> (&'static str, String) {
        match self {
            Self::Prefix(path) => ("path", path.clone()),
            Self::Characters(path) => ("path", format!("{path}*")),
            Self::Exact(path) => ("exact", path.clone()),
            Self::Regex(regex) => ("regex", regex.clone()),
            Self::Grpc(GrpcMethod { service, method }) => match method {
                Some(method) => ("grpc", format!("{service}/{method}")),
                None => ("grpc", service.clone()),
            },
            Self::Port(port) => ("port", port.to_string()),
            // The names are the route's hosts.
            Self::Name { .. } => ("sni", String::new()),
        }
    }

    /// The same as it is shown in a message: `path=/orders`.
    #[must_use]
    pub fn describe(&self) -> String {
        let (name, value) = self.word();
        format!("{name}={value}")
    }
}

impl GrpcMethod {
    /// Reads `shop.Orders` or `shop.Orders/Get`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (service, method) = match text.split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (text, None),
        };
        let identifier = |s: &str| {
            !s.is_empty()
                && s.split('.').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                })
        };
        let method_ok = method.is_none_or(|m| identifier(m) && !m.contains('.'));
        if text.len() > 256 || !identifier(service) || !method_ok {
            return Err(format!(
                "`grpc={}` must be package.Service or package.Service/Method",
                clip(text)
            ));
        }
        Ok(Self {
            service: service.to_owned(),
            method: method.map(str::to_owned),
        })
    }
}
