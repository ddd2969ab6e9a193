//! The runs: one for each release that `integration/tools.sh` knows, with what differs from the tests' defaults.

use std::path::{Path, PathBuf};

use crate::groups::Part;

/// From this version on Consul streams changes to its agents, by default from 1.10 on.
const STREAMING: (u32, u32) = (1, 10);

/// The programs of a release of etcd, and the variables of the tests for them.
const ETCD: [(&str, &str); 3] = [
    ("ETCD_BIN", "etcd"),
    ("ETCDCTL_BIN", "etcdctl"),
    ("ETCDUTL_BIN", "etcdutl"),
];

/// The tests of one part against one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// `consul-1.14.11`, by which it is chosen.
    pub(crate) name: String,
    pub(crate) part: Part,
    /// What has to be fetched before.
    pub(crate) releases: Vec<String>,
    /// The environment of the tests.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// `releases`: what `tools.sh releases` prints. `tools`: the folder into which it fetches them.
pub(crate) fn all(releases: &str, tools: &Path) -> Vec<Run> {
    let names = || releases.lines().filter_map(|line| line.split_whitespace().next());
    let mut runs: Vec<Run> = names().flat_map(|name| of(name, tools)).collect();
    let together = |name: &str, part, program_name: &str, variable| {
        let mut releases: Vec<String> = names()
            .filter(|name| name.starts_with(&format!("{program_name}-")))
            .map(str::to_owned)
            .collect();
        releases.sort_by_key(|release| release.split_once('-').and_then(|(_, version)| numbers(version)));
        let programs: Vec<String> = releases
            .iter()
            .map(|name| program(tools, name, program_name))
            .collect();
        Run {
            name: name.to_owned(),
            part,
            releases,
            environment: vec![(variable, programs.join(":"))],
        }
    };
    runs.push(together("upgrade", Part::Upgrade, "etcd", "ETCD_UPGRADE_BINS"));
    runs.push(together("fleet", Part::Fleet, "envoy", "XDS_TEST_ENVOYS"));
    runs.push(Run {
        name: "java".to_owned(),
        part: Part::Java,
        releases: Vec::new(),
        environment: Vec::new(),
    });
    runs
}

fn of(release: &str, tools: &Path) -> Vec<Run> {
    let run = |name: String, part, environment| Run {
        name,
        part,
        releases: vec![release.to_owned()],
        environment,
    };
    let (name, version) = release.split_once('-').unwrap_or((release, ""));
    match name {
        "consul" => {
            let program = ("CONSUL_BIN", program(tools, release, "consul"));
            if numbers(version).is_none_or(|version| version < STREAMING) {
                return vec![run(release.to_owned(), Part::Consul, vec![program])];
            }
            let with = |name: String, streaming: &str| {
                let streaming = ("XDS_TEST_CONSUL_STREAMING", streaming.to_owned());
                run(name, Part::Consul, vec![program.clone(), streaming])
            };
            vec![
                with(release.to_owned(), "1"),
                with(format!("{release}-unstreamed"), "0"),
            ]
        }
        "etcd" => {
            let programs = ETCD.map(|(variable, name)| (variable, program(tools, release, name)));
            vec![run(release.to_owned(), Part::Etcd, programs.to_vec())]
        }
        "envoy" => {
            let program = ("ENVOY_BIN", program(tools, release, "envoy"));
            vec![run(release.to_owned(), Part::Envoy, vec![program])]
        }
        _ => Vec::new(),
    }
}

fn program(tools: &Path, release: &str, name: &str) -> String {
    let path: PathBuf = tools.join(release).join(name);
    path.display().to_string()
}

/// Major and minor.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
