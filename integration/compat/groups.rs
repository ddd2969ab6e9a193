//! Which tests prove which capability, and which program each capability depends on. The one table.

/// A program of which several versions are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Consul,
    Etcd,
    Envoy,
    /// All Envoys at once.
    Fleet,
    /// A cluster of etcd that goes from one version to the next.
    Upgrade,
    /// gRPC's client for Java.
    Java,
}

/// A capability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// The head of its column.
    pub(crate) name: &'static str,
    /// Where another version may make a difference.
    parts: &'static [Part],
    /// How the paths of its tests begin. The longest beginning of all groups decides.
    tests: &'static [&'static str],
}

const CONSUL: &[Part] = &[Part::Consul];
const ETCD: &[Part] = &[Part::Etcd];
const ALL: &[Part] = &[Part::Consul, Part::Etcd, Part::Envoy];

/// In the order of the columns.
pub(crate) const GROUPS: &[Group] = &[
    Group::new("adoption in three steps", ALL, &["adoption_", "readme"]),
    Group::new("adopt: a file taken over", &[Part::Envoy], &["adopt::"]),
    Group::new("Consul: changes and data", CONSUL, &["consul_"]),
    Group::new("Consul: ACLs", CONSUL, &["consul_acl", "chaos::consul::rights"]),
    Group::new("Consul: TLS", CONSUL, &["consul_tls"]),
    Group::new(
        "Consul: restarts and outages",
        CONSUL,
        &["consul_restart", "chaos::consul"],
    ),
    Group::new("etcd: changes and formats", ETCD, &["etcd_"]),
    Group::new(
        "etcd: users and TLS",
        ETCD,
        &[
            "etcd_watch::users",
            "etcd_watch::certificates",
            "chaos::etcd::certificates",
        ],
    ),
    Group::new(
        "etcd: members, outages, restores",
        ETCD,
        &["etcd_watch::members", "etcd_watch::trouble", "chaos::etcd"],
    ),
    Group::new(
        "etcd: upgraded in place, under load",
        &[Part::Upgrade],
        &["chaos::etcd::upgrade"],
    ),
    Group::new(
        "guards: wrong, missing and unhealthy entries, last known state",
        ALL,
        &[
            "analyze",
            "configuration",
            "deploys",
            "drains",
            "last_known",
            "localities",
            "malformed",
            "mass_removal",
            "owners",
            "registrations",
            "registry_restart",
            "reload",
            "removals",
            "slips",
            "support_dump",
            "unhealthy",
            "union",
        ],
    ),
    Group::new(
        "xDS: protocol, restarts, TLS",
        &[Part::Envoy],
        &[
            "envoy_protocol",
            "bridge_restart",
            "doctor",
            "events",
            "fleets",
            "odd",
            "ports",
            "tls",
            "views",
            "page",
            "plan",
            "questions",
            "why",
        ],
    ),
    Group::new(
        "listeners and routes",
        &[Part::Envoy],
        &[
            "connections",
            "edge",
            "filters",
            "listeners",
            "overlay",
            "routes",
            "story",
            "telemetry",
        ],
    ),
    Group::new("load reports", &[Part::Envoy], &["load_reports"]),
    Group::new("versions of a service", &[Part::Envoy], &["versions"]),
    Group::new("rollouts", ALL, &["rollouts"]),
    Group::new("errors of rollouts", &[Part::Envoy], &["errors::"]),
    Group::new(
        "clusters: balancing, checks, limits",
        &[Part::Envoy],
        &["clusters", "upstream"],
    ),
    Group::new(
        "tags of Traefik and fabio",
        &[Part::Consul, Part::Envoy],
        &["import"],
    ),
    Group::new("shared state", &[Part::Consul, Part::Etcd], &["state", "store"]),
    Group::new("gRPC clients", &[Part::Java], &["grpc_"]),
    Group::new("thousands of services", &[Part::Consul, Part::Etcd], &["scale"]),
    Group::new("mixed fleet", &[Part::Fleet], &["mixed_fleet"]),
    // What the tests themselves are made of.
    Group::new("support", &[], &["support", "packaging"]),
];

impl Group {
    const fn new(name: &'static str, parts: &'static [Part], tests: &'static [&'static str]) -> Self {
        Self { name, parts, tests }
    }

    /// Whether another version of `part` may change what its tests find.
    pub(crate) fn depends_on(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// The group of the test with this path. `None`: the table lacks a line.
pub(crate) fn of(test: &str) -> Option<&'static Group> {
    let fits = |group: &'static Group| {
        let lengths = group.tests.iter().filter(|start| test.starts_with(**start));
        lengths
            .map(|start| start.len())
            .max()
            .map(|length| (length, group))
    };
    GROUPS
        .iter()
        .filter_map(fits)
        .max_by_key(|(length, _)| *length)
        .map(|(_, group)| group)
}
