//! What a server writes into the registry, and what of it can be read.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::history::{Declaration, ROUTES, SERVICES, is_grpc};

/// Where instances listen, by service and number.
pub(crate) fn address((service, instance): (u8, u8)) -> SocketAddr {
    ([10, 0, service, instance + 1], 8080).into()
}

pub(crate) fn service(number: u8) -> &'static str {
    SERVICES[usize::from(number) % SERVICES.len()]
}

pub(crate) fn instance_key(number: u8, instance: u8) -> String {
    let name = service(number);
    format!("/services/{name}/instances/{name}-{instance}")
}

pub(crate) fn policy_key(number: u8) -> String {
    format!("/services/{}/policy", service(number))
}

impl Declaration {
    /// What everybody declares once all is repaired: nothing that another one claims, and all of one mind.
    pub(crate) fn repaired(number: u8, instance: u8) -> Self {
        Self {
            place: (number, instance),
            weight: 1,
            grpc: is_grpc(number),
            ..Self::default()
        }
    }

    /// What it claims, but for its own name.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &'static str> {
        self.routes
            .iter()
            .map(|at| ROUTES[usize::from(*at) % ROUTES.len()])
    }

    /// As it stands in the registry.
    pub(crate) fn value(&self) -> String {
        let slip = self.slip.map(|slip| slip % 7);
        if slip == Some(0) {
            return "{\"address\":".to_owned();
        }
        let place = address(self.place);
        let host = if slip == Some(2) {
            "web.example".to_owned()
        } else {
            place.ip().to_string()
        };
        let port = if slip == Some(1) { 0 } else { place.port() };
        let mut text = format!("{{\"address\":\"{host}\",\"port\":{port}");
        self.rest(&mut text);
        text
    }

    /// As a policy document, which has no address.
    pub(crate) fn policy(&self) -> String {
        if self.slip.is_some_and(|slip| slip % 7 == 0) {
            return "[".to_owned();
        }
        let mut text = "{\"max-stream-duration\":\"1h\"".to_owned();
        let service = Self {
            version: 0,
            state: 0,
            weight: 1,
            share: None,
            ..self.clone()
        };
        service.rest(&mut text);
        text
    }

    fn rest(&self, text: &mut String) {
        let slip = self.slip.map(|slip| slip % 7);
        let mut field = |key: &str, value: &str| {
            let _ = write!(text, ",\"{key}\":\"{value}\"");
        };
        if self.version > 0 {
            field("version", &format!("v{}", self.version));
        }
        match self.state {
            0 => {}
            1 => field("state", "drain"),
            _ => field("state", "off"),
        }
        if slip == Some(6) {
            field("weight", "much");
        } else if self.weight != 1 {
            field("weight", &self.weight.to_string());
        }
        for (at, route) in self.claims().enumerate() {
            let key = if at == 0 {
                "route".to_owned()
            } else {
                format!("route-{}", at + 1)
            };
            field(&key, route);
        }
        if slip == Some(5) {
            field("route-9", "path=nowhere");
        }
        if let Some(share) = self.share {
            field("share", &format!("{share}%"));
        }
        if slip == Some(4) {
            field("timeout", "soon");
        } else if let Some(timeout) = self.timeout {
            field("timeout", &format!("{timeout}s"));
        }
        if slip == Some(3) {
            field("colour", "blue");
        }
        if self.grpc {
            field("protocol", "grpc");
        }
        if self.edge {
            field("expose", "internal,edge");
        }
        text.push('}');
    }
}
