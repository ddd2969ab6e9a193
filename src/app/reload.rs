//! What is different between two configurations, as steps. Pure.

use std::sync::Arc;

use crate::config::{Config, ConsulSource, EtcdSource, SharedState, SourceConfig};

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
    /// What differs in this section takes effect with a restart of the bridge.
    Restart(&'static str),
}

/// What leads from the one to the other.
#[must_use]
pub fn steps(old: &Config, new: &Config) -> Vec<Step> {
    let mut steps = Vec::new();
    if old.network() != new.network() {
        steps.push(Step::Network);
    }
    if old.rollouts != new.rollouts {
        steps.push(Step::Rollouts);
    }
    if old.secrets() != new.secrets() {
        steps.push(Step::Secrets);
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
        ("xds", old.xds != new.xds),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
        ("cache", old.cache != new.cache),
        ("limits", old.limits != new.limits),
        ("state", !shares_alike(old, new)),
        ("rollouts.webhook", old.webhooks != new.webhooks),
    ];
    steps.extend(
        fixed
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| Step::Restart(name)),
    );
    steps
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

    #[test]
    fn what_is_defined_for_all_services_is_one_step() {
        for text in [
            "[exposures.edge]\nhosts = [\"api.example.com\"]\n",
            "[listeners.l]\naddress = \"127.0.0.1:10000\"\nexposure = \"internal\"\n",
            "[clusters]\nretries = 1\n",
            "[external.maps]\naddresses = [\"maps.example.com:80\"]\n",
        ] {
            assert_eq!(changed(A, &format!("{text}{A}")), [Step::Network], "{text}");
        }
    }

    #[test]
    fn ports_logs_and_bounds_need_a_restart() {
        for (text, section) in [
            ("[xds]\nmax_names = 7\n", "xds"),
            ("[admin]\nlisten = \"127.0.0.1:1\"\n", "admin"),
            ("[log]\nfilter = \"debug\"\n", "log"),
            ("[cache]\nfolder = \"elsewhere\"\n", "cache"),
            ("[limits]\nsource_memory = \"200MiB\"\n", "limits"),
            ("[state]\nfile = \"state.json\"\n", "state"),
        ] {
            assert_eq!(
                changed(A, &format!("{text}{A}")),
                [Step::Restart(section)],
                "{text}"
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
