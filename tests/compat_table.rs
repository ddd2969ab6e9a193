//! `make compat`: each test belongs to a capability, and what the page has is kept. The parts of the program that
//! need no other program.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the program uses the rest")]

#[path = "../integration/compat/groups.rs"]
mod groups;
#[path = "../integration/compat/page.rs"]
mod page;
#[path = "../integration/compat/results.rs"]
mod results;
#[path = "../integration/compat/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use groups::Part;
use page::Row;

const RELEASES: &str = "consul-1.14.11 default\nconsul-1.8.7\nenvoy-1.39.3\nenvoy-1.40.0 default\netcd-3.10.0\netcd-3.7.3 default\n";

fn all() -> Vec<runs::Run> {
    runs::all(RELEASES, Path::new("/tools"))
}

fn row(date: &str, cells: &[(&str, &str)], notes: &[&str]) -> Row {
    Row {
        passed: notes.is_empty(),
        date: date.to_owned(),
        cells: cells
            .iter()
            .map(|(name, cell)| ((*name).to_owned(), (*cell).to_owned()))
            .collect(),
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
    }
}

#[test]
fn each_module_of_the_integration_tests_has_a_group() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/main.rs")).unwrap();
    let modules: Vec<&str> = main
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|module| *module != "chaos") // its two halves have each their own
        .chain(["chaos::consul", "chaos::etcd"])
        .collect();
    assert!(modules.len() > 10, "{modules:?}");
    for module in modules {
        let test = format!("{module}::some_test");
        assert!(
            groups::of(&test).is_some(),
            "{module} is in no group of integration/compat/groups.rs"
        );
    }
}

#[test]
fn the_longest_beginning_decides() {
    let group = |test: &str| groups::of(test).map(|group| group.name);
    assert_eq!(group("consul_watch::a"), Some("Consul: changes and data"));
    assert_eq!(group("consul_acl::a"), Some("Consul: ACLs"));
    assert_eq!(
        group("chaos::consul::wiped::a"),
        Some("Consul: restarts and outages")
    );
    assert_eq!(group("chaos::consul::rights::a"), Some("Consul: ACLs"));
    assert_eq!(group("nothing::a"), None);
}

#[test]
fn a_run_for_each_release_and_two_where_consul_streams() {
    let names: Vec<String> = all().into_iter().map(|run| run.name).collect();
    assert_eq!(
        names,
        [
            "consul-1.14.11",
            "consul-1.14.11-unstreamed",
            "consul-1.8.7",
            "envoy-1.39.3",
            "envoy-1.40.0",
            "etcd-3.10.0",
            "etcd-3.7.3",
            "upgrade",
            "fleet",
            "java"
        ]
    );
    let upgrade = &all()[7];
    let members = "/tools/etcd-3.7.3/etcd:/tools/etcd-3.10.0/etcd".to_owned();
    assert_eq!(upgrade.environment, [("ETCD_UPGRADE_BINS", members)]);
    let fleet = &all()[8];
    assert_eq!(fleet.releases, ["envoy-1.39.3", "envoy-1.40.0"]);
    let envoys = "/tools/envoy-1.39.3/envoy:/tools/envoy-1.40.0/envoy".to_owned();
    assert_eq!(fleet.environment, [("XDS_TEST_ENVOYS", envoys)]);
    let unstreamed = &all()[1];
    assert!(
        unstreamed
            .environment
            .contains(&("XDS_TEST_CONSUL_STREAMING", "0".to_owned()))
    );
    assert_eq!(all()[2].environment.len(), 1, "1.8 ends at a key of streaming");
    assert_eq!(all()[5].environment.len(), 3, "etcd, etcdctl and etcdutl");
}

#[test]
fn what_did_not_pass_has_failed() {
    let wanted = [
        "tls::good",
        "tls::bad",
        "tls::ignored",
        "tls::silent",
        "union::good",
    ]
    .map(str::to_owned);
    let output = "test tls::good ... ok\ntest tls::bad ... FAILED\ntest tls::ignored ... ignored\ntest union::good ... ok\n";
    let results = results::read(output, &wanted);
    let tls = &results["xDS: protocol, restarts, TLS"];
    assert_eq!(tls.passed, 1);
    assert_eq!(tls.failed, ["tls::bad", "tls::ignored", "tls::silent"]);
    assert_eq!(tls.cell(), "**1 of 4**");
    let guards = &results["guards: wrong, missing and unhealthy entries, last known state"];
    assert_eq!(guards.cell(), "1 of 1");
}

#[test]
fn what_a_version_lacks_is_neither_passed_nor_failed() {
    let wanted = ["consul_peering::a", "consul_peering::b", "consul_tls::c"].map(str::to_owned);
    let output = "NOT PROVEN with Consul 1.8, which lacks cluster peering (since 1.14): consul_peering::a\n\
                  NOT PROVEN with Consul 1.8, which lacks all (since 1.14): consul_tls::c\n\
                  test consul_peering::a ... ok\ntest consul_peering::b ... ok\ntest consul_tls::c ... ok\n";
    let results = results::read(output, &wanted);
    let data = &results["Consul: changes and data"];
    assert_eq!((data.passed, data.failed.len()), (1, 0));
    let what = "`consul_peering::a` is not proven with Consul 1.8, which lacks cluster peering (since 1.14)";
    assert_eq!(data.lacking, [what]);
    assert_eq!(results["Consul: TLS"].cell(), "–");
}

#[test]
fn rows_of_other_runs_stay() {
    let page = "before\n<!-- compat: begin, written by `make compat` -->\n<!-- compat: end -->\nafter\n";
    let (tls, acl) = ("Consul: TLS", "Consul: ACLs");
    let old = BTreeMap::from([
        (
            "consul-1.8.7".to_owned(),
            row("2026-01-01", &[(tls, "3 of 3")], &[]),
        ),
        (
            "consul-1.14.11".to_owned(),
            row(
                "2026-01-01",
                &[(tls, "**1 of 3**"), (acl, "2 of 2")],
                &["`a` fails", "`b` fails"],
            ),
        ),
        ("fleet".to_owned(), row("2026-01-01", &[], &["NOT RUN: why"])),
        ("consul-0.1".to_owned(), row("2026-01-01", &[], &[])),
    ]);
    let page = page::write(page, &all(), &old).unwrap();
    assert!(
        page.starts_with("before\n") && page.ends_with("\nafter\n"),
        "{page}"
    );
    assert!(page.contains("- `consul-1.14.11`: `b` fails\n"), "{page}");
    assert!(page.contains("| `fleet` | 2026-01-01 | not run |"), "{page}");
    assert!(!page.contains("consul-0.1"), "it has no release any more: {page}");
    assert_eq!(
        page::write(&page, &all(), &BTreeMap::new()).unwrap(),
        page,
        "written again as read"
    );

    let fresh = row("2026-02-02", &[(tls, "3 of 3"), (acl, "2 of 2")], &[]);
    let page = page::write(
        &page,
        &all(),
        &BTreeMap::from([("consul-1.14.11".to_owned(), fresh)]),
    )
    .unwrap();
    let line = |name: &str| {
        page.lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap()
    };
    assert!(line("consul-1.8.7").contains("2026-01-01"), "{page}");
    assert!(line("consul-1.14.11").contains("2026-02-02"), "{page}");
    assert!(!page.contains("fails"), "{page}");
    assert!(page.contains("- `fleet`: NOT RUN: why\n"), "{page}");
    assert_eq!(page::write("no marker", &all(), &BTreeMap::new()), None);
}

#[test]
fn the_page_has_its_markers() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md")).unwrap();
    assert!(page::write(&page, &all(), &BTreeMap::new()).is_some());
    assert_eq!(Part::Consul, all()[0].part);
}
