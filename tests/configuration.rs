//! bridge.toml: what is right is read, and what is wrong is told all at once, each with its line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "configuration/external.rs"]
mod external;
#[path = "configuration/filters.rs"]
mod filters;
#[path = "configuration/fleets.rs"]
mod fleets;
#[path = "configuration/network.rs"]
mod network;
#[path = "configuration/sources.rs"]
mod sources;
#[path = "configuration/state.rs"]
mod state;

use std::collections::HashMap;
use std::path::Path;

use expect_test::{Expect, expect};
use xds_bridge::config::{Config, SourceConfig, load_str};
use xds_bridge::source::{Budget, build};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let environment = config::Environment::with_prefix("XDS_BRIDGE")
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    load_str(Path::new("etc/bridge.toml"), text, Some(environment)).map_err(|e| e.to_string())
}

#[allow(clippy::needless_pass_by_value)] // expect! makes a value
fn wrong(text: &str, variables: &[(&str, &str)], wanted: Expect) {
    let message = read(text, variables).expect_err("these are mistakes");
    wanted.assert_eq(&(message + "\n"));
}

const SAMPLE: &str = "[sources.sample]\nkind = \"file\"\npath = \"catalog\"\n";

#[test]
fn a_number_that_no_integer_holds_hides_no_other_mistake() {
    wrong(
        "[xds]\nmax_connections = 99_999_999_999_999_999_999\nmax_streams = 0x1_ffff_ffff_ffff_ffff\nmax_names = \
         -99999999999999999999\nlistem = \"a\"\n",
        &[],
        expect![[r#"
            5 mistakes in the configuration
              etc/bridge.toml:2: xds.max_connections: `9223372036854775807` must be a whole number from 1 to 1000000
              etc/bridge.toml:3: xds.max_streams: `9223372036854775807` must be a whole number from 1 to 10000000
              etc/bridge.toml:4: xds.max_names: `-9223372036854775808` must be a whole number from 1 to 10000000
              etc/bridge.toml:5: xds.listem: is not a known key; did you mean `listen`?
              etc/bridge.toml: sources: at least one is needed: [sources.consul] with kind = "consul" and address, or [sources.etcd] with kind = "etcd", endpoints and prefix
        "#]],
    );
}

#[test]
fn the_sample_is_right() {
    let config = read(include_str!("../examples/bridge.toml"), &[]).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.exposures.len(), 2);
}

#[test]
fn a_word_that_is_no_level_is_no_filter() {
    let with = |filter: &str| read(&format!("{SAMPLE}[log]\nfilter = \"{filter}\"\n"), &[]);
    for (filter, meant) in [
        ("warning", "did you mean `warn`?"),
        ("verbose", "did you mean `debug`?"),
        ("info,Warning", "did you mean `warn`?"),
        ("inof", "did you mean `info`?"),
        ("hyper", "`hyper=debug`"),
    ] {
        let error = with(filter).expect_err(filter);
        assert!(
            error.contains("etc/bridge.toml:5: log.filter: `") && error.contains(meant),
            "{error}"
        );
    }
    for filter in [
        "info",
        "WARN",
        "off",
        "info,xds_bridge::grpc=debug,h2=off",
        "xds_bridge",
        "xds_bridge[{node}]=trace",
    ] {
        assert_eq!(with(filter).expect(filter).log.filter, filter);
    }
}

#[test]
fn defaults_and_relative_paths() {
    let config = read(SAMPLE, &[]).unwrap();
    assert_eq!(config.xds.listen.to_string(), "127.0.0.1:18000");
    let SourceConfig::File(file) = &config.sources["sample"] else {
        panic!("a file source")
    };
    assert_eq!(
        file.path,
        Path::new("etc/catalog"),
        "relative to the folder of bridge.toml"
    );
}

#[test]
fn variables_are_stronger_than_the_file() {
    let etcd = "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:1\"]\n";
    let variables = [
        ("XDS_BRIDGE__XDS__LISTEN", "127.0.0.1:7"),
        (
            "XDS_BRIDGE__SOURCES__ETCD__ENDPOINTS",
            "http://10.0.0.1:2379, http://10.0.0.2:2379",
        ),
        ("XDS_BRIDGE__XDS__MAX_NAMES", "7"),
    ];
    let config = read(etcd, &variables).unwrap();
    assert_eq!(config.xds.listen.port(), 7);
    assert_eq!(config.xds.max_names, 7);
    let SourceConfig::Etcd(etcd) = &config.sources["etcd"] else {
        panic!("an etcd source")
    };
    assert_eq!(etcd.endpoints, ["http://10.0.0.1:2379", "http://10.0.0.2:2379"]);
}

#[test]
fn all_mistakes_at_once_with_their_lines() {
    let text = "\
[xds]
listen = \"0.0.0.0:18000\"
settel = \"10ms\"

[admin]
listen = \"localhost:18001\"

[sources.etcd]
kind = \"etcd\"
endpoints = [\"127.0.0.1:2379\"]
prefix = \"/services\"

[sources.Consul]
kind = \"consul\"

[listeners.edge]
address = \"0.0.0.0:10000\"
exposure = \"egde\"

[sourcse.x]
";
    wrong(
        text,
        &[("XDS_BRIDGE__LOG__FORMAT", "xml")],
        expect![[r#"
            10 mistakes in the configuration
              etc/bridge.toml:2: xds.listen: 0.0.0.0:18000 is reachable from other machines, and the port has no TLS: use 127.0.0.1, add [xds.tls], or say allow_plaintext = true
              etc/bridge.toml:3: xds.settel: is not a known key; did you mean `settle`?
              etc/bridge.toml:6: admin.listen: `localhost:18001` must be IP:PORT, such as 127.0.0.1:18000 or [::1]:18000
              etc/bridge.toml:10: sources.etcd.endpoints: `127.0.0.1:2379` must be http://HOST:PORT or https://HOST:PORT
              etc/bridge.toml:11: sources.etcd.prefix: `/services` must end with /, so that `/svc/` never sees `/svc2/`
              etc/bridge.toml:13: sources.Consul: a name here has 1 to 64 of a-z, 0-9, - and _
              etc/bridge.toml:13: sources.Consul.address: is missing; for example address = "http://127.0.0.1:8500"
              etc/bridge.toml:18: listeners.edge.exposure: `egde` is not an exposure; there are: internal (or add [exposures.egde])
              etc/bridge.toml:20: sourcse: is not a known key; did you mean `sources`?
              etc/bridge.toml: XDS_BRIDGE__LOG__FORMAT: log.format: `xml` must be "text" or "json"
        "#]],
    );
}

#[test]
fn broken_toml_names_each_line() {
    wrong(
        "[xds\nlisten = \"x\"\n[admin]\nlisten = 127.0.0.1\n",
        &[],
        expect![[r#"
            2 mistakes in the configuration
              etc/bridge.toml:1: `[xds` is not TOML: unclosed table, expected `]`
              etc/bridge.toml:4: `listen = 127.0.0.1` is not TOML: invalid float, expected nothing
        "#]],
    );
}

#[test]
fn something_must_be_watched() {
    wrong(
        "",
        &[],
        expect![[r#"
        1 mistake in the configuration
          etc/bridge.toml: sources: at least one is needed: [sources.consul] with kind = "consul" and address, or [sources.etcd] with kind = "etcd", endpoints and prefix
    "#]],
    );
}

#[test]
fn listeners_must_not_clash() {
    let text = format!(
        "{SAMPLE}[listeners.a]\naddress = \"127.0.0.1:1\"\n[listeners.b]\naddress = \"127.0.0.1:1\"\n\
         [listeners.c]\naddress = \"127.0.0.1:2\"\ninternal = true\n[listeners.d]\n"
    );
    wrong(
        &text,
        &[],
        expect![[r#"
        3 mistakes in the configuration
          etc/bridge.toml:7: listeners.b.address: is the same as that of listeners.a, for the same fleets
          etc/bridge.toml:10: listeners.c.internal: a listener has an address or is internal, not both
          etc/bridge.toml:11: listeners.d.address: is missing; for example address = "127.0.0.1:10000", or internal = true
    "#]],
    );
}

#[test]
fn wrong_types_are_told() {
    let text =
        format!("{SAMPLE}[xds]\nmax_names = \"many\"\nsettle = 10\nlisten = [\"a\"]\n[log]\nformat = true\n");
    wrong(
        &text,
        &[],
        expect![[r#"
            4 mistakes in the configuration
              etc/bridge.toml:5: xds.max_names: `many` must be a whole number from 1 to 10000000
              etc/bridge.toml:6: xds.settle: `10` is not a duration such as 250ms, 2s or 1m (0s, or from 1ms to 24h)
              etc/bridge.toml:7: xds.listen: must be a single value
              etc/bridge.toml:9: log.format: `true` must be "text" or "json"
        "#]],
    );
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let text = "\
[sources.a]
kind = \"consul\"
address = \"http://root:s3cr3t@127.0.0.1:8500\"

[sources.b]
kind = \"etcd\"
endpoints = [\"http://127.0.0.1:2379\", \"https://root:s3cr3t@127.0.0.1:2379\"]
prefix = \"/services/\"
";
    wrong(
        text,
        &[],
        expect![[r#"
        2 mistakes in the configuration
          etc/bridge.toml:3: sources.a.address: must not hold a user or a password (`@`), which every log would show: they have keys and files of their own
          etc/bridge.toml:7: sources.b.endpoints: must not hold a user or a password (`@`), which every log would show: they have keys and files of their own
    "#]],
    );
}

#[test]
fn tls_rules_and_bounds_are_read() {
    let text = format!(
        "{SAMPLE}[xds]\nlisten = \"0.0.0.0:18000\"\nmax_stream_age = \"2h\"\nmax_first_responses = 8\n\
         [xds.tls]\ncertificate = \"tls/bridge.pem\"\nkey = \"/run/bridge-key.pem\"\nclient_ca = \"tls/ca.pem\"\ncrl = \"tls/crl.pem\"\n\
         [[xds.clients]]\nsan = \"spiffe://shop/ns/*\"\nnode_ids = [\"edge-*\"]\nfleets = [\"edge\"]\n\
         [[xds.clients]]\nsan = \"dns:edge-*.example\"\nnode_ids = [\"*\"]\nfleets = [\"edge\", \"bff\"]\n"
    );
    let xds = read(&text, &[]).unwrap().xds;
    let tls = xds.tls.unwrap();
    assert_eq!(tls.certificate, Path::new("etc/tls/bridge.pem"));
    assert_eq!(tls.key, Path::new("/run/bridge-key.pem"));
    assert_eq!(tls.client_ca.unwrap(), Path::new("etc/tls/ca.pem"));
    assert_eq!(tls.crl.unwrap(), Path::new("etc/tls/crl.pem"));
    assert_eq!(xds.clients.len(), 2);
    assert_eq!(xds.clients[1].fleets, ["edge", "bff"]);
    assert_eq!(xds.max_stream_age.as_secs(), 7_200);
    let bounds = [
        xds.max_first_responses,
        xds.max_connections,
        xds.max_request_bytes,
    ];
    assert_eq!(bounds, [8, 10_000, 16 << 20]);
}

#[test]
fn mistakes_in_tls_and_rules_have_their_lines() {
    let text = format!(
        "{SAMPLE}[xds]\nmax_connections = 0\nmax_request_bytes = \"64MiB\"\n\
         [xds.tls]\ncertificate = \"bridge.pem\"\nclientca = \"ca.pem\"\n\
         [[xds.clients]]\nsan = \"edge-*.example\"\nnode_ids = [\"edge-*\"]\nfleets = [\"edge\"]\n\n\
         [[xds.clients]]\nsan = \"dns:edge.example\"\nnode_id = [\"edge-1\"]\nfleets = []\n"
    );
    wrong(
        &text,
        &[],
        expect![[r#"
        8 mistakes in the configuration
          etc/bridge.toml:5: xds.max_connections: `0` must be a whole number from 1 to 1000000
          etc/bridge.toml:6: xds.max_request_bytes: `64MiB` must be a whole number from 1024 to 1073741824
          etc/bridge.toml:7: xds.tls.key: is missing; for example key = "tls/bridge-key.pem"
          etc/bridge.toml:9: xds.tls.clientca: is not a known key; did you mean `client_ca`?
          etc/bridge.toml:11: xds.clients[0].san: `edge-*.example` must be a URI such as spiffe://shop/ns/*, or dns: and a name such as dns:edge-*.example
          etc/bridge.toml:15: xds.clients[1].node_ids: which node ids may it claim? for example node_ids = ["edge-*"]
          etc/bridge.toml:17: xds.clients[1].node_id: is not a known key; did you mean `node_ids`?
          etc/bridge.toml:18: xds.clients[1].fleets: which fleets (node.cluster) may it claim? for example fleets = ["edge"]
    "#]],
    );
}

#[test]
fn rules_need_certificates() {
    let rule = "[[xds.clients]]\nsan = \"dns:a.example\"\nnode_ids = [\"a\"]\nfleets = [\"edge\"]\n";
    wrong(
        &format!("{SAMPLE}{rule}"),
        &[],
        expect![[r#"
        1 mistake in the configuration
          etc/bridge.toml:4: xds.clients[0]: needs client_ca in [xds.tls]: without it no client shows a certificate
    "#]],
    );
    let tls = "[xds.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n";
    wrong(
        &format!("{SAMPLE}{tls}{rule}"),
        &[],
        expect![[r#"
        1 mistake in the configuration
          etc/bridge.toml:7: xds.clients[0]: needs client_ca in [xds.tls]: without it no client shows a certificate
    "#]],
    );
    wrong(
        &format!("{SAMPLE}{tls}crl = \"crl.pem\"\n"),
        &[],
        expect![[r#"
        1 mistake in the configuration
          etc/bridge.toml:7: xds.tls.crl: needs client_ca: without it no client shows a certificate that could be revoked
    "#]],
    );
    let table = format!("{SAMPLE}[xds.clients]\nsan = \"dns:a.example\"\n");
    wrong(
        &table,
        &[],
        expect![[r#"
        1 mistake in the configuration
          etc/bridge.toml:4: xds.clients: must be a list of tables, [[xds.clients]]
    "#]],
    );
}

#[test]
fn an_etcd_source_has_users_tls_and_prefixes() {
    let text = "\
[sources.etcd]
kind = \"etcd\"
endpoints = [\"https://10.0.0.1:2379\"]
user = \"bridge\"
password_file = \"secrets/etcd\"
tls.ca = \"ca.pem\"
[[sources.etcd.prefixes]]
prefix = \"/a/\"
[[sources.etcd.prefixes]]
prefix = \"/b/\"
";
    let config = read(text, &[]).unwrap();
    let SourceConfig::Etcd(etcd) = &config.sources["etcd"] else {
        panic!("an etcd source")
    };
    let login = etcd.login.as_ref().unwrap();
    assert_eq!(login.user, "bridge");
    assert_eq!(login.password_file, Path::new("etc/secrets/etcd"));
    assert_eq!(
        etcd.tls.as_ref().unwrap().ca.as_deref(),
        Some(Path::new("etc/ca.pem"))
    );
    let prefixes: Vec<_> = etcd.prefixes.iter().map(|p| p.prefix.as_str()).collect();
    assert_eq!(prefixes, ["/a/", "/b/"]);
    assert_eq!(
        build(&config.sources["etcd"], &Budget::default())
            .registry()
            .unwrap(),
        "etcd https://10.0.0.1:2379 /a/,/b/"
    );
    let one = "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"http://10.0.0.1:2379\"]\n";
    let SourceConfig::Etcd(etcd) = &read(one, &[]).unwrap().sources["etcd"] else {
        panic!("an etcd source")
    };
    assert_eq!(etcd.prefixes[0].prefix, "/services/");
}

#[test]
fn mistakes_of_an_etcd_source_have_their_lines() {
    let text = "\
[sources.a]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
user = \"bridge\"
password = \"hunter2\"
prefix = \"/services/\"
[[sources.a.prefixes]]
prefix = \"/a/\"
[[sources.a.prefixes]]
prefix = \"/a/b/\"
[[sources.a.prefixes]]
prefx = \"/c/\"

[sources.b]
kind = \"etcd\"
endpoints = [\"https://10.0.0.1:2379\"]
password_file = \"etcd\"
tls.certificate = \"bridge.pem\"

[sources.c]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
tls.ca = \"ca.pem\"
prefixes = []
";
    wrong(
        text,
        &[],
        expect![[r#"
            9 mistakes in the configuration
              etc/bridge.toml:1: sources.a.password_file: is missing: a user needs a file with the password
              etc/bridge.toml:5: sources.a.password: must not stand here: write it into a file of its own and name that with password_file
              etc/bridge.toml:6: sources.a.prefix: belongs into the tables of [[prefixes]], where there are any
              etc/bridge.toml:10: sources.a.prefixes[1].prefix: `/a/b/` overlaps `/a/`: a key would be read twice
              etc/bridge.toml:12: sources.a.prefixes[2].prefx: is not a known key; did you mean `prefix`?
              etc/bridge.toml:14: sources.b.user: is missing: a password needs the name of its user
              etc/bridge.toml:18: sources.b.tls.key: is missing: a certificate needs its key
              etc/bridge.toml:23: sources.c.tls: is of no use: the address must be https:// for TLS
              etc/bridge.toml:24: sources.c.prefixes: at least one is needed, [[prefixes]] with prefix = "/services/"
        "#]],
    );
}

#[test]
fn the_memory_of_sources_is_a_size() {
    let folder = "[sources.f]\nkind = \"file\"\npath = \"x\"\n\n[limits]\nsource_memory = ";
    let memory =
        |value: &str| read(&format!("{folder}{value}\n"), &[]).map(|config| config.limits.source_memory);
    assert_eq!(memory("\"128MiB\"").unwrap(), 128 << 20);
    assert_eq!(memory("\"1 GiB\"").unwrap(), 1 << 30);
    assert_eq!(memory("33554432").unwrap(), 32 << 20);
    for wrong in ["\"256MB\"", "\"1MiB\"", "\"\"", "\"99999999999999999999GiB\""] {
        let reason = memory(wrong).unwrap_err();
        assert!(reason.contains("such as \"256MiB\""), "{wrong}: {reason}");
    }
    let none = read("[sources.f]\nkind = \"file\"\npath = \"x\"\n", &[]).unwrap();
    assert_eq!(none.limits.source_memory, 256 << 20);
}

#[test]
fn keys_of_services_by_name_are_read_as_they_are_declared() {
    let file = Path::new("bridge.toml");
    let text = "[sources.a]\nkind = \"file\"\npath = \"services\"\n[services.\"Orders*\"]\n";
    let load = |more: &str| load_str(file, &format!("{text}{more}"), None);
    let config = load("limits = \"requests=7\"\nmax-requests-per-connection = 5\n").unwrap();
    let service = xds_bridge::model::Service {
        name: "Orders-2".into(),
        ..Default::default()
    };
    let cluster = config.overrides.apply(service).policy.cluster;
    assert_eq!(cluster.max_requests_per_connection, Some(5));
    assert_eq!(cluster.limits.unwrap().requests, Some(7));
    let error = load("limit = \"requests=7\"\nweight = 1\nlb = [\"maglev\"]\n")
        .unwrap_err()
        .to_string();
    for words in [
        "did you mean `limits`?",
        "a key of one instance",
        "must be a single value",
    ] {
        assert!(error.contains(words), "{error}");
    }
}
