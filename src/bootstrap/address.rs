//! Where a client reaches the bridge: an IP address, or a DNS name that may have several.
//! Parsed only; nothing is looked up here.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address::Address as AddressKind, socket_address::PortSpecifier,
};

use super::BootstrapError;
use crate::translate::endpoints;

/// `IP:PORT` or `NAME:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeAddress {
    /// One bridge.
    Ip(SocketAddr),
    /// As many as the name has addresses.
    Name {
        /// A DNS name, without a scheme.
        host: String,
        /// The port of each address.
        port: u16,
    },
}

impl BridgeAddress {
    /// For Envoy, which takes a name in place of an address where the cluster resolves names.
    pub(super) fn socket(&self) -> Address {
        match self {
            Self::Ip(address) => endpoints::socket(*address),
            Self::Name { host, port } => Address {
                address: Some(AddressKind::SocketAddress(SocketAddress {
                    address: host.clone(),
                    port_specifier: Some(PortSpecifier::PortValue((*port).into())),
                    ..SocketAddress::default()
                })),
            },
        }
    }
}

impl fmt::Display for BridgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for BridgeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err("port 0 is none to connect to".to_owned())
            } else {
                Ok(Self::Ip(canonical(address)))
            };
        }
        let wanted = || "must be IP:PORT, [IPV6]:PORT or NAME:PORT, such as bridge.internal:18000".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        if !is_name(host) {
            return Err(wanted());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self::Name {
                host: host.to_owned(),
                port,
            }),
            _ => Err(wanted()),
        }
    }
}

/// An IPv4 address that is written as IPv6, as IPv4: Envoy cannot connect to the former.
pub(super) const fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A DNS name; a mistyped IPv4 address is none.
fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |l: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&l.len()) && l.chars().all(inside) && !l.starts_with('-') && !l.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label)
        && !last.chars().all(|c| c.is_ascii_digit())
        && name.parse::<Ipv4Addr>().is_err()
}

/// What no client can connect to, and what would be there twice.
pub(super) fn check(bridges: &[BridgeAddress]) -> Result<(), BootstrapError> {
    for (at, bridge) in bridges.iter().enumerate() {
        if matches!(bridge, BridgeAddress::Ip(a) if a.ip().is_unspecified()) {
            return Err(BootstrapError::Unspecified(bridge.clone()));
        }
        if bridges[..at].contains(bridge) {
            return Err(BootstrapError::BridgeTwice(bridge.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_distinguished() {
        let parse = |text: &str| text.parse::<BridgeAddress>();
        for ip in ["127.0.0.1:18000", "[::1]:18000"] {
            assert!(matches!(parse(ip), Ok(BridgeAddress::Ip(_))), "{ip}");
        }
        for name in [
            "localhost:18000",
            "bridge.internal:1",
            "bridge.internal.:18000",
            "_xds.b-1:80",
        ] {
            let parsed = parse(name).unwrap();
            assert!(matches!(parsed, BridgeAddress::Name { .. }), "{name}");
            assert_eq!(parsed.to_string(), name);
        }
        for wrong in [
            "",
            "localhost",
            ":18000",
            "bridge:0",
            "bridge:65536",
            "127.0.0.1:0",
            "127.0.0:18000",
            "300.0.0.1:18000",
            "::1:18000",
            "http://bridge:18000",
            "dns:///bridge:18000",
            "a..b:80",
            "-a:80",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_nobody_can_connect_to_is_refused() {
        let parse = |text: &str| text.parse::<BridgeAddress>().unwrap();
        let [any, one, two] = ["0.0.0.0:18000", "localhost:18000", "127.0.0.1:18000"].map(parse);
        assert!(check(&[one.clone(), two.clone()]).is_ok());
        assert!(matches!(check(&[any]), Err(BootstrapError::Unspecified(_))));
        assert!(matches!(
            check(&[one.clone(), two, one]),
            Err(BootstrapError::BridgeTwice(_))
        ));
    }
}
