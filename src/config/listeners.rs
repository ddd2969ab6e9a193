//! `[listeners.NAME]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::reader::{Section, named};
use super::{Exposure, SecretFiles, parse};
use crate::model::listener::{
    AccessLog, Bind, Listener, ListenerTls, LogFormat, LogTarget, Tracing, Traffic,
};
use crate::model::service::check_name;

/// `None` only beside a mistake.
pub(super) fn read(
    root: &mut Section<'_>,
    exposures: &BTreeMap<Arc<str>, Exposure>,
    secrets: &BTreeMap<Arc<str>, SecretFiles>,
    errors: Option<&Arc<str>>,
) -> Option<BTreeMap<Arc<str>, Listener>> {
    let mut listeners: BTreeMap<Arc<str>, Listener> = BTreeMap::new();
    let mut whole = true;
    for mut s in root.sections("listeners") {
        named(&s);
        let given = s.has("address");
        let address = s.get("address", parse::socket);
        if address.is_some_and(|a| a.port() == 0) {
            s.mistake("address", "needs a port: Envoy cannot tell you which one it took");
        }
        let internal = s.get_or("internal", false, parse::switch);
        if !given && !internal {
            s.mistake(
                "address",
                "is missing; for example address = \"127.0.0.1:10000\", or internal = true",
            );
        } else if given && internal {
            s.mistake("internal", "a listener has an address or is internal, not both");
        }
        let exposure: Arc<str> = s.get_or("exposure", "internal".into(), |text| {
            let known = || exposures.keys().map(|k| &**k).collect::<Vec<_>>().join(", ");
            if exposures.contains_key(text) {
                return Ok(text.into());
            }
            Err(format!(
                "`{text}` is not an exposure; there are: {} (or add [exposures.{text}])",
                known()
            ))
        });
        let fleets = s
            .list("fleets", |text| parse::text(text).map(Arc::from))
            .unwrap_or_default();
        let traffic = traffic(&mut s, internal);
        let http10 = s.get_or("http10", true, parse::switch);
        let upgrades = s.list("upgrades", parse::upgrade);
        let tls = s.optional("tls").and_then(|tls| identity(tls, secrets));
        let access_log = access_log(&mut s);
        let name = s.name().to_owned();
        let tracing = s.optional("tracing").and_then(|section| tracing(section, &name));
        if tracing.is_some() && traffic != Traffic::Http {
            s.mistake(
                "tracing",
                "is about requests, and with protocol = \"tcp\" Envoy sees none",
            );
        }
        let proxy_protocol = s.get_or("proxy_protocol", false, parse::switch);
        if internal && (tls.is_some() || proxy_protocol) {
            s.mistake(
                "internal",
                "a listener inside of Envoy has no TLS and no proxy_protocol: nobody connects to it from outside",
            );
        }
        let http3 = http3(&mut s, tls.is_some() && traffic == Traffic::Http, address);
        let trusted_hops = s.get_or("trusted_hops", 0, parse::count(0, 16));
        let max_connection_duration = s.get("max_connection_duration", parse::duration);
        let bind = if internal {
            Some(Bind::Internal)
        } else {
            address.map(Bind::Address)
        };
        if let Some(text) = bind.and_then(|bind| clash(&listeners, bind, &fleets)) {
            s.mistake("address", text);
        }
        match bind {
            Some(bind) => {
                let default = Listener::new(bind, exposure);
                let listener = Listener {
                    fleets,
                    http10,
                    upgrades: upgrades.unwrap_or(default.upgrades),
                    tls,
                    http3,
                    access_log,
                    tracing,
                    proxy_protocol,
                    trusted_hops: u32::try_from(trusted_hops).unwrap_or(0),
                    max_connection_duration: max_connection_duration.filter(|time| !time.is_zero()),
                    errors: errors.filter(|_| traffic == Traffic::Http).cloned(),
                    traffic,
                    ..default
                };
                listeners.insert(s.name().into(), listener);
            }
            None => whole = false,
        }
        s.finish();
    }
    whole.then_some(listeners)
}

/// `protocol` and `service`.
fn traffic(s: &mut Section<'_>, internal: bool) -> Traffic {
    let http = s.get_or("protocol", true, parse::word(&[("http", true), ("tcp", false)]));
    let service = s.get("service", |text| check_name(text).map(|()| Arc::from(text)));
    if http {
        if service.is_some() {
            s.mistake(
                "service",
                "needs protocol = \"tcp\": where requests go is said by routes, or by owners of the exposure",
            );
        }
        return Traffic::Http;
    }
    if internal && service.is_none() {
        s.mistake(
            "service",
            "is missing: a TCP listener inside of Envoy has no port to be claimed",
        );
    }
    for key in ["http10", "upgrades", "trusted_hops"] {
        if s.has(key) {
            s.mistake(
                key,
                "is about requests, and with protocol = \"tcp\" Envoy sees none",
            );
        }
    }
    Traffic::Tcp { service }
}

/// What services may claim because this listener is there.
pub(super) fn serves(listener: &Listener, exposures: &mut BTreeMap<Arc<str>, Exposure>) {
    let Some(exposure) = exposures.get_mut(&listener.exposure) else {
        return;
    };
    exposure.certified |= listener.tls.is_some();
    if let (Traffic::Tcp { service: None }, Bind::Address(address)) = (&listener.traffic, listener.bind) {
        exposure.ports.insert(address.port());
    }
}

/// `None` only beside a mistake.
fn identity(mut s: Section<'_>, secrets: &BTreeMap<Arc<str>, SecretFiles>) -> Option<ListenerTls> {
    let has = |text: &str, what: &str, there: fn(&SecretFiles) -> bool| -> Result<Arc<str>, String> {
        let fitting = || {
            let all = secrets.iter().filter(|(_, files)| there(files));
            all.map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
        };
        match secrets.get_key_value(text) {
            Some((name, files)) if there(files) => Ok(name.clone()),
            _ => Err(format!(
                "`{text}` is not the name of a [tls.{text}] with {what}; there are: {}",
                fitting()
            )),
        }
    };
    let certificates = s.need_list(
        "certificates",
        "which certificates does it show? for example certificates = [\"shop\"], with [tls.shop]",
        |text| has(text, "certificate and key", |files| files.identity.is_some()),
    );
    let client_ca = s.get("client_ca", |text| has(text, "ca", |files| files.ca.is_some()));
    s.finish();
    Some(ListenerTls {
        certificates: certificates?,
        client_ca,
    })
}

fn access_log(s: &mut Section<'_>) -> Option<AccessLog> {
    let to = s.get("access_log", |text| match (text, text.strip_prefix("grpc:")) {
        ("stdout", _) => Ok(LogTarget::Stdout),
        (_, Some(service)) => check_name(service).map(|()| LogTarget::Service(service.into())),
        (text, _) if text.starts_with('/') => Ok(LogTarget::File(text.to_owned())),
        (text, _) => Err(format!(
            "`{text}` must be stdout, the full path of a file on Envoy's machine, or grpc: and the name of a service"
        )),
    });
    let given = s.has("access_log_format");
    let format = s.get_or("access_log_format", LogFormat::Text, |text| {
        Ok(match text {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            text if text.contains('%') => LogFormat::Custom(text.to_owned()),
            text => {
                return Err(format!(
                    "`{text}` must be text, json, or a format of Envoy's such as \"%START_TIME% %RESPONSE_CODE%\""
                ));
            }
        })
    });
    if given && matches!(to, Some(LogTarget::Service(_))) {
        s.mistake(
            "access_log_format",
            "has no place here: a service gets each request as a message",
        );
    }
    if given && to.is_none() {
        s.mistake(
            "access_log_format",
            "needs access_log: where are requests logged?",
        );
    }
    to.map(|to| AccessLog { to, format })
}

/// `http3` and `http3_port`.
fn http3(s: &mut Section<'_>, by_tls: bool, address: Option<SocketAddr>) -> Option<u16> {
    let serves = s.get_or("http3", false, parse::switch);
    let port = s.get("http3_port", parse::count(1, 65_535));
    if serves && !by_tls {
        s.mistake(
            "http3",
            "needs [listeners.NAME.tls], and no protocol = \"tcp\": HTTP/3 is always encrypted",
        );
    }
    if port.is_some() && !serves {
        s.mistake("http3_port", "needs http3 = true");
    }
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.or(address.map(|a| a.port())).filter(|_| serves)
}

/// `None` also beside a mistake.
fn tracing(mut s: Section<'_>, listener: &str) -> Option<Tracing> {
    let collector = s.need("collector", "\"otel-collector\"", |text| {
        check_name(text).map(|()| Arc::from(text))
    });
    let millionths = s.get_or("sampling", ONE_PERCENT, parse::share);
    let name = s.get_or("service_name", listener.to_owned(), parse::text);
    s.finish();
    Some(Tracing {
        collector: collector?,
        millionths,
        name,
    })
}

/// In millionths.
const ONE_PERCENT: u32 = 10_000;

/// What is wrong with an address beside those of the listeners before it.
fn clash(listeners: &BTreeMap<Arc<str>, Listener>, bind: Bind, fleets: &[Arc<str>]) -> Option<String> {
    if bind == Bind::Internal {
        return None;
    }
    let (name, other) = listeners.iter().find(|(_, other)| {
        (other.bind == bind || both_any(other.bind, bind))
            && (other.fleets.is_empty()
                || fleets.is_empty()
                || other.fleets.iter().any(|f| fleets.contains(f)))
    })?;
    Some(if other.bind == bind {
        format!("is the same as that of listeners.{name}, for the same fleets")
    } else {
        format!("takes the port of listeners.{name}, too, as [::] takes IPv4; [::] alone is enough")
    })
}

/// `[::]` takes IPv4, too: beside `0.0.0.0` of the same port each would get some of the connections.
fn both_any(one: Bind, other: Bind) -> bool {
    match (one, other) {
        (Bind::Address(a), Bind::Address(b)) => {
            a.port() == b.port() && a.ip().is_unspecified() && b.ip().is_unspecified()
        }
        _ => false,
    }
}
