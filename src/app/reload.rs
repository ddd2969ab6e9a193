//! What is different between two configurations, as steps. Pure.

use std::sync::Arc;

use crate::config::{Config, ConsulSource, EtcdSource, SharedState, SourceConfig, Xds};

/// One thing to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Other exposures, listeners or defaults of clusters. First: sources that come may name them.
    Network,
    /// Other `[rollouts]`: those that are under way go on by it.
    Rollouts,
    /// Other files in `[tls.NAME]`, or with keys of issuers of tokens.
    Secrets,
    /// A source that was not there.
    Add(Arc<str>),
    /// Other settings of a source.
    Replace(Arc<str>),
    /// A source that is no longer there. After the others: what moves from one source to another is served throughout.
    Remove(Arc<str>),
    /// Other bounds of streams, or rules for certificates: streams that begin go by them.
    Streams,
    /// What differs in this section takes effect with a restart of the bridge.
    Restart(&'static str),
}

/// What leads from the one to the other.
#[must_use]
pub fn steps(old: &Config, new: &Config) -> Vec<Step> {
    // A field that is new has to find its place here, and its section one in docs/operations.md.
    let Config {
        xds,
        admin,
        log,
        cache,
        limits,
        webhooks,
        state: _, // with the way to its registry
        sources: _,
        priorities: _, // one by one
        tls: _,
        jwks: _, // together: the files that are followed
        rollouts,
        clusters: _,
        overrides: _,
        exposures: _,
        listeners: _,
        externals: _,
        fleets: _,
        overlays: _,
        drain: _, // the network
    } = new;
    let mut steps = Vec::new();
    if old.network() != new.network() {
        steps.push(Step::Network);
    }
    if old.rollouts != *rollouts {
        steps.push(Step::Rollouts);
    }
    if old.secrets() != new.secrets() {
        steps.push(Step::Secrets);
    }
    if in_force(&old.xds, xds) != old.xds {
        steps.push(Step::Streams);
    }
    let added = new.sources.keys().filter(|name| !old.sources.contains_key(*name));
    steps.extend(added.cloned().map(Step::Add));
    let differs = |name: &&Arc<str>| {
        old.sources.contains_key(*name)
            && (old.sources.get(*name), old.priorities.get(*name))
                != (new.sources.get(*name), new.priorities.get(*name))
    };
    steps.extend(new.sources.keys().filter(differs).cloned().map(Step::Replace));
    let gone = old.sources.keys().filter(|name| !new.sources.contains_key(*name));
    steps.extend(gone.cloned().map(Step::Remove));
    let fixed = [
        ("xds", in_force(&old.xds, xds) != *xds),
        ("admin", old.admin != *admin),
        ("log", old.log != *log),
        ("cache", old.cache != *cache),
        ("limits", old.limits != *limits),
        ("state", !shares_alike(old, new)),
        ("rollouts.webhook", old.webhooks != *webhooks),
    ];
    steps.extend(
        fixed
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| Step::Restart(name)),
    );
    steps
}

/// `[xds]` as it is in force once the new one is read: what each stream goes by from its begin on is new, what the port was
/// opened with stays.
pub(super) fn in_force(old: &Xds, new: &Xds) -> Xds {
    Xds {
        max_streams: new.max_streams,
        max_requests_per_second: new.max_requests_per_second,
        max_stream_age: new.max_stream_age,
        // Rules are about the certificates that clients show, which the port asks for as it was opened.
        clients: if old.tls == new.tls {
            &new.clients
        } else {
            &old.clients
        }
        .clone(),
        ..old.clone()
    }
}

/// Whether shared state stays where it is: in the same registry, reached in the same way.
fn shares_alike(old: &Config, new: &Config) -> bool {
    let source = |config: &Config| match &config.state {
        SharedState::Registry { source, .. } => config.sources.get(source).cloned(),
        SharedState::File(_) | SharedState::Off { .. } => None,
    };
    old.state == new.state && source(old).map(way) == source(new).map(way)
}

/// A source as far as it says how its registry is reached.
fn way(source: SourceConfig) -> SourceConfig {
    match source {
        SourceConfig::Etcd(etcd) => SourceConfig::Etcd(EtcdSource {
            login: etcd.login,
            tls: etcd.tls,
            ..EtcdSource::new(etcd.endpoints, "/")
        }),
        SourceConfig::Consul(consul) => SourceConfig::Consul(Box::new(ConsulSource {
            token_file: consul.token_file,
            datacenter: consul.datacenter,
            namespace: consul.namespace,
            partition: consul.partition,
            tls: consul.tls,
            ..ConsulSource::new(consul.address)
        })),
        file @ SourceConfig::File(_) => file,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_str;

    fn config(text: &str) -> Config {
        load_str(Path::new("bridge.toml"), text, None).unwrap()
    }

    fn changed(old: &str, new: &str) -> Vec<Step> {
        steps(&config(old), &config(new))
    }

    const A: &str = "[sources.a]\nkind = \"file\"\npath = \"a\"\n";
    const B: &str = "[sources.b]\nkind = \"file\"\npath = \"b\"\n";

    #[test]
    fn nothing_differs() {
        assert_eq!(changed(A, A), []);
        assert_eq!(changed(A, &format!("# a comment\n{A}")), []);
    }

    #[test]
    fn sources_come_before_others_go() {
        let both = format!("{A}{B}");
        assert_eq!(changed(A, &both), [Step::Add("b".into())]);
        assert_eq!(changed(&both, A), [Step::Remove("b".into())]);
        assert_eq!(changed(A, B), [Step::Add("b".into()), Step::Remove("a".into())]);
    }

    #[test]
    fn a_source_is_another_one_by_its_settings_or_its_priority() {
        let moved = A.replace("\"a\"\n", "\"other\"\n");
        let behind = format!("{A}priority = 1\n");
        let restarts = [Step::Replace("a".into())];
        assert_eq!(changed(A, &moved), restarts);
        assert_eq!(changed(A, &behind), restarts);
        assert_eq!(changed(&behind, A), restarts);
    }

    const LISTENER: &str = "[listeners.l]\naddress = \"127.0.0.1:10000\"\nexposure = \"internal\"\n";

    const RULE: &str = "[[xds.clients]]\nsan = \"dns:edge\"\nnode_ids = [\"a\"]\nfleets = [\"edge\"]\n";

    #[test]
    fn rules_for_certificates_wait_for_the_port_that_asks_for_them() {
        let tls = "[xds.tls]\ncertificate = \"a.pem\"\nkey = \"a-key.pem\"\nclient_ca = \"ca.pem\"\n";
        assert_eq!(changed(A, &format!("{tls}{RULE}{A}")), [Step::Restart("xds")]);
        // Of both kinds at once: what can be in force is.
        let both = changed(A, &format!("[xds]\nmax_streams = 7\nsettle = \"7ms\"\n{A}"));
        assert_eq!(both, [Step::Streams, Step::Restart("xds")]);
    }

    /// A change of each section: what there is before, what comes, and what it takes.
    fn all() -> Vec<(&'static str, String, String, Vec<Step>)> {
        let jwt = |file: &str| {
            format!(
                "[exposures.edge]\nhosts = [\"api.x\"]\n[exposures.edge.jwt.shop]\nissuer = \"https://shop\"\n\
                 audiences = [\"api\"]\nfile = \"{file}\"\n"
            )
        };
        let layout = |key: &str| {
            format!(
                "[formats.own]\nkey = \"{key}\"\n[sources.e]\nkind = \"etcd\"\nendpoints = \
                 [\"http://127.0.0.1:1\"]\nprefix = \"/own/\"\nformat = \"own\"\n"
            )
        };
        let certified = |rule: &str| {
            format!("[xds.tls]\ncertificate = \"a.pem\"\nkey = \"a-key.pem\"\nclient_ca = \"ca.pem\"\n{rule}")
        };
        let hook = "[[rollouts.webhook]]\nurl = \"http://127.0.0.1:1/\"\n";
        let plain = |section, text: &str, step| (section, String::new(), text.to_owned(), vec![step]);
        vec![
            plain("sources", B, Step::Add("b".into())),
            (
                "formats",
                layout("{service}/{id}"),
                layout("{service}/nodes/{id}"),
                vec![Step::Replace("e".into())],
            ),
            plain(
                "exposures",
                "[exposures.edge]\nhosts = [\"api.example.com\"]\n",
                Step::Network,
            ),
            ("exposures", jwt("a.json"), jwt("b.json"), vec![Step::Secrets]),
            plain(
                "callers",
                "[callers]\nweb = \"spiffe://shop/web\"\n",
                Step::Network,
            ),
            plain("listeners", LISTENER, Step::Network),
            (
                "errors",
                LISTENER.to_owned(),
                format!("{LISTENER}[errors]\ncollect = false\n"),
                vec![Step::Network],
            ),
            plain("clusters", "[clusters]\nretries = 1\n", Step::Network),
            plain("services", "[services.\"a*\"]\ntimeout = \"2s\"\n", Step::Network),
            plain(
                "external",
                "[external.maps]\naddresses = [\"maps.example.com:80\"]\n",
                Step::Network,
            ),
            plain("fleets", "[fleets.edge]\nservices = [\"a\"]\n", Step::Network),
            plain(
                "overlay",
                "[[overlay]]\ntype = \"cluster\"\nname = \"a\"\njson = '{\"alt_stat_name\": \"b\"}'\n",
                Step::Network,
            ),
            plain("drain", "[drain]\nlinger = \"7s\"\n", Step::Network),
            plain("rollouts", "[rollouts]\nstep_time = \"7s\"\n", Step::Rollouts),
            plain(
                "tls",
                "[tls.edge]\ncertificate = \"a.pem\"\nkey = \"a-key.pem\"\n",
                Step::Secrets,
            ),
            plain("xds", "[xds]\nsettle = \"7ms\"\n", Step::Restart("xds")),
            plain("xds.max_streams", "[xds]\nmax_streams = 7\n", Step::Streams),
            plain(
                "xds.max_requests_per_second",
                "[xds]\nmax_requests_per_second = 7\n",
                Step::Streams,
            ),
            plain(
                "xds.max_stream_age",
                "[xds]\nmax_stream_age = \"7h\"\n",
                Step::Streams,
            ),
            ("xds.clients", certified(""), certified(RULE), vec![Step::Streams]),
            plain(
                "admin",
                "[admin]\nlisten = \"127.0.0.1:1\"\n",
                Step::Restart("admin"),
            ),
            plain("log", "[log]\nfilter = \"debug\"\n", Step::Restart("log")),
            plain(
                "cache",
                "[cache]\nfolder = \"elsewhere\"\n",
                Step::Restart("cache"),
            ),
            plain(
                "limits",
                "[limits]\nsource_memory = \"200MiB\"\n",
                Step::Restart("limits"),
            ),
            plain(
                "state",
                "[state]\nfile = \"state.json\"\n",
                Step::Restart("state"),
            ),
            plain("rollouts.webhook", hook, Step::Restart("rollouts.webhook")),
        ]
    }

    /// The sections of bridge.toml, by the table of all keys, and what each takes, by the document for operators.
    #[test]
    fn each_section_of_the_file_is_listed_with_what_it_takes() {
        let read = |name: &str| {
            let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let text = read("operations.md");
        let (_, table) = text
            .split_once("| section | takes effect |")
            .expect("a table of sections");
        let rows = table.lines().skip(2).map(str::trim);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let mut listed: Vec<(String, bool)> = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').collect();
            let names = cells[1].split('`').skip(1).step_by(2);
            let at_once = cells[2].contains("at once");
            assert_ne!(at_once, cells[2].contains("restart"), "{row}");
            listed.extend(names.map(|name| (name.to_owned(), at_once)));
        }
        for (section, before, after, wanted) in all() {
            let found = changed(&format!("{before}{A}"), &format!("{after}{A}"));
            assert_eq!(found, wanted, "{after}");
            let at_once = !matches!(wanted[0], Step::Restart(_));
            assert!(
                listed.contains(&(section.to_owned(), at_once)),
                "docs/operations.md does not say when [{section}] takes effect: at once is {at_once}"
            );
        }
        let tried: Vec<&str> = all().iter().map(|(section, ..)| *section).collect();
        for (name, _) in &listed {
            assert!(tried.contains(&name.as_str()), "no change of [{name}] is tried");
        }
        // Each key of bridge.toml begins with its section.
        for row in read("configuration.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
        {
            let key = row.split('`').nth(1).unwrap_or_default();
            let section = key
                .trim_start_matches('[')
                .split(['.', ']'])
                .next()
                .unwrap_or_default();
            assert!(
                tried.contains(&section),
                "no change of [{section}] is tried: {key}"
            );
        }
    }

    #[test]
    fn shared_state_stays_with_the_way_to_its_registry() {
        let consul = "[sources.c]\nkind = \"consul\"\naddress = \"http://127.0.0.1:8500\"\n";
        let replaced = Step::Replace("c".into());
        let narrowed = format!("{consul}services = [\"orders\"]\n");
        assert_eq!(changed(consul, &narrowed), std::slice::from_ref(&replaced));
        for text in [
            consul.replace("8500", "8501"),
            format!("{consul}token_file = \"token\"\n"),
        ] {
            assert_eq!(
                changed(consul, &text),
                [replaced.clone(), Step::Restart("state")],
                "{text}"
            );
        }
    }
}
