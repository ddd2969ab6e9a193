//! Each format of etcd: keys and values as its library writes them, and wrong ones, in
//! `tests/etcd_formats/NAME.keys`; what becomes of them in `NAME.expected` (`UPDATE_EXPECT=1` writes it).
//!
//! A file begins with its prefix. Groups of `put KEY` (its value on the next line) and `delete KEY` are
//! each one change; `#` begins a comment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expect_test::{expect, expect_file};
use xds_bridge::config::{
    Config, ConfigError, EtcdPrefix, Format, PRESETS as PRESETS_TEXT, SourceConfig, load_str,
};
use xds_bridge::model::{Change, Instance, Issue, ServiceRecord};
use xds_bridge::registry::etcd::{Event, Kv};
use xds_bridge::source::etcd::State;
use xds_bridge::source::{Budget, build};

const PRESETS: [&str; 11] = [
    "apisix",
    "dubbo-app",
    "go-micro",
    "go-zero",
    "grpc-naming",
    "hertz",
    "host-port",
    "kitex",
    "kratos",
    "native",
    "skydns",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd_formats")
}

fn put(key: &str, value: &str) -> Event {
    Event::Put(Kv {
        key: key.into(),
        value: value.into(),
        size: value.len(),
        mod_revision: 1,
        create_revision: 1,
    })
}

/// The prefix, and groups of changes.
fn script(text: &str) -> (String, Vec<Vec<Event>>) {
    let mut lines = text.lines().peekable();
    let prefix = lines
        .next()
        .unwrap()
        .strip_prefix("prefix")
        .unwrap()
        .trim()
        .to_owned();
    let mut groups = vec![Vec::new()];
    while let Some(line) = lines.next() {
        match line.split_once(' ') {
            _ if line.is_empty() => groups.push(Vec::new()),
            Some(("#", _)) => {}
            Some(("put", key)) => {
                let starts = |line: &&str| line.is_empty() || line.starts_with("put ");
                let value = if lines.peek().is_none_or(starts) {
                    ""
                } else {
                    lines.next().unwrap()
                };
                groups.last_mut().unwrap().push(put(key, value));
            }
            Some(("delete", key)) => groups.last_mut().unwrap().push(Event::Delete {
                key: key.into(),
                mod_revision: 2,
            }),
            _ => panic!("`{line}`"),
        }
    }
    groups.retain(|group| !group.is_empty());
    (prefix, groups)
}

fn show(change: &Change) -> String {
    let mut out = String::new();
    let mut services: Vec<&(Arc<str>, Option<ServiceRecord>)> = change.services.iter().collect();
    services.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, record) in services {
        match record {
            None => writeln!(out, "{name}: gone").unwrap(),
            Some(record) => {
                writeln!(out, "{name}").unwrap();
                record
                    .instances
                    .iter()
                    .for_each(|one| writeln!(out, "  {}", instance(one)).unwrap());
                if let Some(policy) = &record.policy {
                    let routes = policy.routes.len();
                    writeln!(out, "  policy expose {:?}, {routes} routes", policy.expose).unwrap();
                }
                issues(&record.issues, &mut out);
            }
        }
    }
    if let Some(stray) = &change.stray {
        writeln!(out, "stray").unwrap();
        issues(stray, &mut out);
    }
    out
}

fn instance(one: &Instance) -> String {
    let mut text = format!("{} {} {} weight {}", one.id, one.address, one.health, one.weight);
    for (name, value) in [("version", &one.version), ("zone", &one.zone)] {
        if !value.is_empty() {
            write!(text, " {name} {value}").unwrap();
        }
    }
    if let Some(protocol) = one.policy.protocol {
        write!(text, " {}", protocol.as_str()).unwrap();
    }
    if let Some(expose) = &one.policy.expose {
        write!(text, " expose {expose:?}").unwrap();
    }
    if !one.policy.routes.is_empty() {
        write!(text, " {} routes", one.policy.routes.len()).unwrap();
    }
    text
}

fn issues(issues: &[Issue], out: &mut String) {
    for issue in issues {
        writeln!(
            out,
            "  {} {}: {}",
            issue.severity.as_str(),
            issue.entry,
            issue.reason
        )
        .unwrap();
    }
}

fn format(name: &str) -> Arc<Format> {
    match name {
        "native" => Arc::new(Format::native()),
        name => Format::preset(name).unwrap(),
    }
}

#[test]
fn each_format_is_read_as_expected() {
    for name in PRESETS {
        let text = std::fs::read_to_string(folder().join(format!("{name}.keys"))).unwrap();
        let (prefix, groups) = script(&text);
        let mut state = State::new(&EtcdPrefix {
            prefix,
            format: format(name),
            keys: None,
        });
        let mut out = String::new();
        for group in groups {
            writeln!(out, "{}", show(&state.apply(group))).unwrap();
        }
        expect_file![folder().join(format!("{name}.expected"))].assert_eq(&out);
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    load_str(Path::new("etc/bridge.toml"), text, None)
}

#[test]
fn formats_of_etcd_are_built_in_or_tables() {
    let text = "\
[sources.kitex]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
format = \"kitex\"
[sources.several]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
[[sources.several.prefixes]]
prefix = \"/discovery/\"
format = \"shop\"
[[sources.several.prefixes]]
prefix = \"/services/\"

[formats.shop]
key = \"{service}/nodes/{id}\"
policy = \"{service}/policy\"
address = \"host\"
port = \"ports.http\"
off = [\"enabled=false\"]
schemes = [\"http=http1\", \"grpc\"]
";
    let config = read(text).unwrap();
    let prefixes = |name| match &config.sources[name] {
        SourceConfig::Etcd(etcd) => etcd.prefixes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(prefixes("kitex")[0].prefix, "kitex/registry-etcd/");
    assert_eq!(prefixes("kitex")[0].format, Format::preset("kitex").unwrap());
    let own = &prefixes("several")[0].format;
    assert_eq!((&*own.name, own.key.text()), ("shop", "{service}/nodes/{id}"));
    assert_eq!(own.port.as_ref().unwrap().path(), ["ports", "http"]);
    // What was kept of a source that was read in another way is of another registry.
    assert_eq!(
        build(&config.sources["several"], &Budget::default())
            .registry()
            .unwrap(),
        "etcd http://10.0.0.1:2379 /discovery/ (shop),/services/"
    );
}

#[test]
fn mistakes_in_formats_have_their_lines() {
    let text = "\
[sources.a]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
format = \"kittex\"
[sources.b]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
format = \"go-zero\"
[sources.c]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
format = \"one\"
prefix = \"/one\"
[sources.d]
kind = \"etcd\"
endpoints = [\"http://10.0.0.1:2379\"]
prefix = \"\"

[formats.one]
key = \"/{service}/node-{id}\"
vlaue = \"json\"
schemes = [\"grpc\", \"https\"]
gone = [\"deleted\"]
[formats.two]
key = \"{id}\"
value = \"text\"
port = \"port\"
default_weight = 0
protocol = \"thrift\"
[formats.three]
policy = \"{service}/{id}\"
id = \"id\"
scheme = \"a..b\"
[formats.four]
key = \"{service...}/{id...}\"
service = \"orders\"
value = \"xml\"
[formats.five]
key = \"{service}\"
value = \"none\"
policy = \"policy\"
service = \"orders\"
[formats.kitex]
key = \"{service}\"
";
    let mistakes = read(text).unwrap_err().to_string();
    expect![[r#"
        20 mistakes in the configuration
          etc/bridge.toml:4: sources.a.format: `kittex` is not a format; there are: apisix, dubbo-app, five, four, go-micro, go-zero, grpc-naming, hertz, host-port, kitex, kratos, native, one, skydns, three, two (or add [formats.kittex])
          etc/bridge.toml:5: sources.b.prefix: is missing, and `go-zero` has no usual one; for example prefix = "/services/"
          etc/bridge.toml:13: sources.c.prefix: `/one` must end with /, so that `/svc/` never sees `/svc2/`
          etc/bridge.toml:17: sources.d.prefix: must not be empty, which is all keys of this etcd; for example /services/
          etc/bridge.toml:20: formats.one.key: `/{service}/node-{id}` must be parts with one slash between them that begin below the prefix: {service}/{id}
          etc/bridge.toml:21: formats.one.vlaue: is not a known key; did you mean `value`?
          etc/bridge.toml:23: formats.one.gone: `deleted` must be FIELD=VALUE, such as enabled=false
          etc/bridge.toml:25: formats.two.key: `{id}` names no {service}; add it, or name the only one: service = "orders"
          etc/bridge.toml:27: formats.two.port: is a place in a value, and needs value = "json"
          etc/bridge.toml:28: formats.two.default_weight: `0` must be a whole number from 1 to 128000
          etc/bridge.toml:29: formats.two.protocol: `thrift` must be http1, http2, grpc, https, https2, grpcs or tcp
          etc/bridge.toml:30: formats.three.key: is missing; for example key = "{service}/{id}"
          etc/bridge.toml:32: formats.three.id: tells apart the instances of one value, and needs instances
          etc/bridge.toml:33: formats.three.scheme: `a..b` must be the name of a field, or names joined by dots such as meta.zone
          etc/bridge.toml:35: formats.four.key: `{service...}/{id...}` has more than one `...`: where the one ends and the other begins would be a guess
          etc/bridge.toml:37: formats.four.value: `xml` must be "json" or "text" or "none" or "native"
          etc/bridge.toml:40: formats.five.value: "none" takes the address from the {id} of the key, which has none
          etc/bridge.toml:41: formats.five.policy: must name the service as the key does, such as "{service}/policy"
          etc/bridge.toml:42: formats.five.service: is of no use: the key names the service
          etc/bridge.toml:43: formats.kitex: is a built-in format; give yours another name
    "#]]
    .assert_eq(&format!("{mistakes}\n"));
}

/// The fenced blocks of TOML in a document.
fn blocks(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_table_in_the_document_works_when_it_is_pasted() {
    let text = blocks("docs/formats.md")
        .into_iter()
        .find(|block| block.contains("[formats.shop]"))
        .unwrap();
    let config = read(&text).unwrap();
    let SourceConfig::Etcd(etcd) = &config.sources["etcd"] else {
        panic!("an etcd source")
    };
    let prefix = etcd.prefixes.iter().find(|p| &*p.format.name == "shop").unwrap();
    let (_, sample) = text.split_once("# /discovery/").unwrap();
    let (key, value) = sample.lines().next().unwrap().split_once(" = ").unwrap();
    let change = State::new(prefix).apply([put(&format!("/discovery/{key}"), value)]);
    assert_eq!(show(&change), "orders\n  7 10.0.0.7:8080 healthy weight 1\n");
}

#[test]
fn the_built_in_formats_stand_in_the_documents_as_they_are() {
    let last = blocks("docs/formats.md").pop().unwrap();
    assert!(
        last == PRESETS_TEXT,
        "copy src/config/formats/presets.toml into docs/formats.md"
    );
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for name in PRESETS {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
