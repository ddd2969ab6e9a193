//! `bridge.toml` and `report.md`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::report::{Item, Rest};
use super::table::toml_key;
use super::{Adopted, Registry};

/// The section of the registry.
pub(super) fn source(registry: Registry) -> String {
    match registry {
        Registry::Consul => {
            "[sources.consul]\nkind = \"consul\"\naddress = \"http://127.0.0.1:8500\"\n".to_owned()
        }
        Registry::Etcd => "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:2379\"]\n\
                           prefix = \"/services/\"\n"
            .to_owned(),
    }
}

/// The name of the file of a service's policy document.
pub(super) fn file_name(service: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = service.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{name}.json")
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted_list<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn bridge_toml(adopted: &Adopted, source: &str) -> String {
    let mut text = format!(
        "# Made by `xds-bridge adopt`; report.md says what stays in Envoy's file, and why.\n\n\
         [xds]\nlisten = \"127.0.0.1:18000\"\n\n[admin]\nlisten = \"127.0.0.1:18001\"\n\n{source}"
    );
    for (name, exposed) in &adopted.exposures {
        let _ = write!(
            text,
            "\n[exposures.{name}]\nhosts = {}\n",
            quoted_list(&exposed.hosts)
        );
        if !exposed.sni.is_empty() {
            let names: BTreeSet<&String> = exposed.sni.iter().collect();
            let _ = writeln!(text, "sni = {}", quoted_list(names));
        }
    }
    for (name, served) in &adopted.listeners {
        let _ = write!(text, "\n[listeners.{name}]\n");
        let _ = match served.address {
            Some(address) => writeln!(text, "address = \"{address}\""),
            None => writeln!(text, "internal = true"),
        };
        if served.tcp {
            text.push_str("protocol = \"tcp\"\n");
        }
        let _ = writeln!(text, "exposure = \"{}\"", served.exposure);
        if let Some(log) = &served.access_log {
            let _ = writeln!(text, "access_log = {}", quoted(log));
        }
        for (key, value) in &served.more {
            let _ = writeln!(text, "{key} = {value}");
        }
        if let Some(tls) = &served.tls {
            let _ = writeln!(text, "tls.certificates = [\"{tls}\"]");
        }
        if served.tcp {
            continue;
        }
        if !served.http10 {
            let _ = writeln!(text, "http10 = false");
        }
        if served.upgrades != ["websocket"] {
            let _ = writeln!(text, "upgrades = {}", quoted_list(&served.upgrades));
        }
    }
    for (name, identity) in &adopted.tls {
        let _ = write!(text, "\n[tls.{name}]\n");
        if let Some((certificate, key)) = &identity.own {
            let _ = write!(
                text,
                "certificate = {}\nkey = {}\n",
                quoted(certificate),
                quoted(key)
            );
        }
        if let Some(ca) = &identity.ca {
            let _ = writeln!(text, "ca = {}", quoted(ca));
        }
    }
    for (name, external) in &adopted.externals {
        let _ = write!(text, "\n[external.{}]\n", toml_key(name));
        if !external.addresses.is_empty() {
            let _ = writeln!(text, "addresses = {}", quoted_list(&external.addresses));
        }
        if let Some(dns) = external.dns {
            let _ = writeln!(text, "dns = \"{dns}\"");
        }
        for (key, value) in in_order(&external.keys) {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
    }
    text
}

/// `route-10` after `route-9`.
fn in_order(keys: &BTreeMap<String, String>) -> Vec<(&String, &String)> {
    let mut keys: Vec<_> = keys.iter().collect();
    let number = |key: &str| key.strip_prefix("route-").and_then(|n| n.parse::<u32>().ok());
    keys.sort_by_key(|(key, _)| (number(key).unwrap_or(0), key.as_str()));
    keys
}

/// `report.md`
pub(super) fn report(adopted: &Adopted, registry: Registry) -> String {
    let report = &adopted.report;
    let mut text = format!(
        "# What `xds-bridge adopt` made of the file\n\nMoved: {}.\n",
        report.counts()
    );
    text.push_str(
        "\n## The steps\n\n\
         1. Register the servers of the services below in the registry, if they are not there yet; start the bridge with \
         `bridge.toml`, and each Envoy with `envoy-1.yaml`: only endpoints come from the bridge.\n\
         2. Write the policy documents (commands below), then start each Envoy with `envoy-2.yaml`: clusters and routes \
         come from the bridge.\n\
         3. Start each Envoy with `envoy-3.yaml`: what is left of the file, and listeners from the bridge.\n\n\
         `xds-bridge adopt --verify FILE` compares the file with what comes of it, by two Envoys.\n",
    );
    stays(&mut text, "Routes that stay", &report.routes);
    stays(&mut text, "TCP routes that stay", &report.connections);
    stays(&mut text, "Clusters that stay", &report.clusters);
    stays(&mut text, "Listeners that stay", &report.listeners);
    rests(&mut text, "What else stays", &report.others);
    rests(&mut text, "Routes that no request reaches", &report.unreached);
    if !report.changes.is_empty() {
        text.push_str("\n## What changes\n\n");
        let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for change in &report.changes {
            places.entry(&change.what).or_default().push(&change.at);
        }
        for (what, places) in places {
            let first = places.first().copied().unwrap_or_default();
            let more = match places.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let _ = writeln!(text, "- {what}: `{first}`{more}");
        }
    }
    text.push_str("\n## Clusters\n\n| cluster | where |\n|---|---|\n");
    for item in &report.clusters {
        let to = item.to.as_deref().unwrap_or("stays in the file");
        let _ = writeln!(text, "| {} | {to} |", item.name);
    }
    text.push_str("\n## Policy documents\n\n```sh\n");
    for service in adopted.documents.keys() {
        let file = file_name(service);
        let _ = match registry {
            Registry::Consul => writeln!(
                text,
                "curl -X PUT --data-binary @policies/{file} http://127.0.0.1:8500/v1/kv/xds/{service}/policy"
            ),
            Registry::Etcd => writeln!(text, "etcdctl put /services/{service}/policy < policies/{file}"),
        };
    }
    text.push_str("```\n\n## Routes\n\n| route | match | where |\n|---|---|---|\n");
    for item in report.routes.iter().chain(&report.connections) {
        let to = item.to.as_deref().unwrap_or("stays in the file");
        let name = item.name.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | `{name}` | {to} |", short(&item.at));
    }
    text
}

/// Without the parts that are the same for all.
fn short(at: &str) -> String {
    let at = at.strip_prefix("static_resources.").unwrap_or(at);
    at.replace("filters[0].typed_config.route_config.", "")
}

fn stays(text: &mut String, heading: &str, items: &[Item]) {
    let mut items = items.iter().filter(|item| item.to.is_none()).peekable();
    if items.peek().is_none() {
        return;
    }
    let _ = write!(text, "\n## {heading}\n\n");
    for item in items {
        let _ = writeln!(text, "- `{}` ({})", item.at, item.name);
        for Rest { at, why } in &item.rests {
            let _ = writeln!(text, "  - `{at}`: {why}");
        }
    }
}

fn rests(text: &mut String, heading: &str, rests: &[Rest]) {
    if rests.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {heading}\n\n");
    for Rest { at, why } in rests {
        let _ = writeln!(text, "- `{at}`: {why}");
    }
}
