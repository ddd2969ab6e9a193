//! Routes of connections without HTTP: by the port, `:5432 proto=tcp`, and by the name that a TLS client asks for,
//! `db.example.com/ proto=tcp`. Pure.

use super::tag::Tag;
use crate::config::FabioImport;
use crate::import::gathered::Gathered;
use crate::model::RouteRule;

/// Adds the route of a tag, or of a command; its number. `lacking`: why it has no server.
pub(super) fn add(
    settings: &FabioImport,
    tag: &Tag,
    gathered: &mut Gathered<'_>,
    name: &str,
    lacking: Option<&str>,
) -> Option<u32> {
    let rule = match (lacking, rule(settings, tag)) {
        (Some(why), _) => Err(why.to_owned()),
        (None, rule) => rule,
    };
    let rule = match rule {
        Ok(rule) => rule,
        Err(why) => {
            gathered.note(name, format!("{why}; this route is left out"));
            return None;
        }
    };
    for (option, value) in tag.options() {
        match option {
            "pxyproto" if value == "true" => gathered.key("proxy-protocol", "v1"),
            "proto" | "weight" | "pxyproto" => {}
            _ => gathered.note(name, "an option says nothing of TCP; ignored"),
        }
    }
    gathered.route(&format!("fabio {} tcp", tag.source()), rule)
}

/// # Errors
/// There is no such route here.
fn rule(settings: &FabioImport, tag: &Tag) -> Result<RouteRule, String> {
    if tag.protects() {
        // Envoy looks at no connection for one route alone: it would be for everybody.
        return Err("allow=, deny= and auth= protect, and are not possible with proto=tcp here".to_owned());
    }
    let place = match (tag.host.as_str(), tag.path.strip_prefix(':')) {
        ("", Some(port)) => format!("port={port}"),
        ("", None) => return Err("with proto=tcp it needs a port, `:5432`, or a host".to_owned()),
        (host, _) if host.contains(':') => {
            return Err("it opens a listener there, and here those are the operator's".to_owned());
        }
        (host, _) if tag.path == "/" => format!("sni={host}"),
        _ => return Err("with proto=tcp it has no path".to_owned()),
    };
    RouteRule::parse(&format!("{place} expose={}", settings.expose.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Import;
    use crate::import::{Checked, Entry, Own, import};

    /// The routes of a tag, and what is said.
    fn read(tag: &str) -> (Vec<String>, String) {
        let fabio = FabioImport {
            expose: vec!["edge".to_owned()],
            ..FabioImport::default()
        };
        let settings = Import {
            fabio: Some(fabio),
            ..Import::default()
        };
        let checks = [Checked {
            status: crate::config::Check::Passing,
            maintenance: false,
            node: false,
        }];
        let entry = Entry {
            label: "x",
            service: "db",
            datacenter: "dc1",
            tags: &[format!("urlprefix-{tag}")],
            checks: &checks,
            own: Own::default(),
        };
        let mut issues = Vec::new();
        let imported = import(&settings, &entry, &mut issues);
        let routes = imported.declared.policy.routes.values();
        let issues: Vec<String> = issues.into_iter().map(|issue| issue.reason).collect();
        (routes.map(ToString::to_string).collect(), issues.concat())
    }

    #[test]
    fn a_port_and_a_name_are_routes_of_connections() {
        for (tag, route) in [
            (":5432 proto=tcp", "port=5432 expose=edge"),
            (
                "DB.example.com/ proto=tcp weight=0.5",
                "sni=db.example.com expose=edge",
            ),
            (
                "*.example.com/ proto=tcp pxyproto=true",
                "sni=*.example.com expose=edge",
            ),
        ] {
            assert_eq!(read(tag), (vec![route.to_owned()], String::new()), "{tag}");
        }
    }

    #[test]
    fn what_is_no_place_for_connections_is_left_out_and_named() {
        for (tag, why) in [
            (":5432 proto=tcp allow=ip:10.0.0.0/8", "protect"),
            (":70000 proto=tcp", "must be a port"),
            ("/ proto=tcp", "needs a port"),
            ("10.0.0.1:5432 proto=tcp", "the operator's"),
            ("10.0.0.1:5432 proto=tcp-dynamic", "the operator's"),
            ("db.example.com/a proto=tcp", "no path"),
            ("db?.example.com/ proto=tcp", "host name"),
            (":5432", "needs proto=tcp"),
        ] {
            let (routes, issues) = read(tag);
            assert!(routes.is_empty(), "{tag}: {routes:?}");
            assert!(
                issues.contains(why) && issues.contains("is left out"),
                "{tag}: {issues}"
            );
        }
        let (routes, issues) = read(":5432 proto=tcp strip=/a");
        assert!(
            routes.len() == 1 && issues.contains("says nothing of TCP"),
            "{issues}"
        );
    }
}
