//! What `[state]` may say, and what is in force where it says nothing.

use expect_test::{Expect, expect};
use xds_bridge::config::SharedState;

use super::{read, wrong};

const FILE: &str = "[sources.folder]\nkind = \"file\"\npath = \"services\"\n";
const ETCD: &str =
    "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:2379\"]\nprefix = \"/services/\"\n";
const CONSUL: &str = "[sources.consul]\nkind = \"consul\"\naddress = \"http://127.0.0.1:8500\"\n";

#[allow(clippy::needless_pass_by_value)] // expect! makes a value
fn place(text: &str, expected: Expect) {
    let config = read(text, &[]).unwrap_or_else(|error| panic!("{error}"));
    expected.assert_eq(&match config.state {
        SharedState::Registry { source, prefix } => format!("{source} {prefix}"),
        SharedState::File(path) => format!("file {}", path.display()),
        SharedState::Off { why } => format!("off: {why}"),
    });
}

#[test]
fn the_only_registry_has_it() {
    place(ETCD, expect!["etcd xds-bridge/"]);
    place(&format!("{CONSUL}{FILE}"), expect!["consul xds-bridge/"]);
    place(
        &format!("[state]\nprefix = \"/teams/a/bridge/\"\n{ETCD}"),
        expect!["etcd /teams/a/bridge/"],
    );
    place(
        &format!("[state]\nsource = \"etcd\"\n{ETCD}{CONSUL}"),
        expect!["etcd xds-bridge/"],
    );
    place(
        &format!("[state]\nfile = \"state.json\"\n{FILE}"),
        expect!["file etc/state.json"],
    );
}

#[test]
fn where_it_is_not_clear_nothing_is_shared_and_the_fix_is_named() {
    place(
        &format!("{ETCD}{CONSUL}"),
        expect![[
            r#"off: there are several registries; name the one that holds it: [state] with source = "consul" or "etcd""#
        ]],
    );
    place(
        FILE,
        expect![[
            r#"off: only folders are configured as sources; to keep drains in a file of this bridge: [state] with file = "state.json""#
        ]],
    );
    // Nobody asked for it, so it is no mistake of the file.
    let all = ETCD
        .replace("/services/", "")
        .replace("prefix", "format = \"kitex\"\nprefix");
    place(
        &all,
        expect![[
            r#"off: state.prefix `xds-bridge/` overlaps ``, which sources.etcd reads services from; set another one: [state] with prefix = "…/""#
        ]],
    );
}

#[test]
fn a_root_among_services_is_a_mistake_and_so_is_a_file_beside_a_registry() {
    wrong(
        &format!("[state]\nprefix = \"/services/state/\"\n{ETCD}"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:2: state.prefix: `/services/state/` overlaps `/services/`, which sources.etcd reads services from
        "#]],
    );
    wrong(
        &format!("[state]\nprefix = \"/\"\nsource = \"etcd\"\n{ETCD}{CONSUL}"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:2: state.prefix: `/` must be a path that ends with /, of at most 128 bytes; for example xds-bridge/
        "#]],
    );
    wrong(
        &format!("[state]\nprefix = \"xds/state/\"\n{CONSUL}"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:2: state.prefix: `xds/state/` overlaps `xds/`, which sources.consul reads services from
        "#]],
    );
    wrong(
        &format!("[state]\nprefix = \"/bridge/\"\n{CONSUL}"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:2: state.prefix: `/bridge/` begins with /, which no key of Consul may
        "#]],
    );
    let traefik = "[sources.consul.traefik]\nkv = \"traefik\"\n";
    wrong(
        &format!("[state]\nprefix = \"traefik/\"\n{CONSUL}import = [\"traefik\"]\n{traefik}"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:2: state.prefix: `traefik/` overlaps `traefik/`, which sources.consul reads services from
        "#]],
    );
    for (text, sources) in [
        ("file = \"state.json\"", ETCD.to_owned()),
        ("file = \"state.json\"", format!("{ETCD}{CONSUL}")),
        ("source = \"folder\"", format!("{ETCD}{FILE}")),
        ("source = \"folder\"", FILE.to_owned()),
        ("source = \"other\"", FILE.to_owned()),
        ("source = \"other\"", format!("{ETCD}{CONSUL}")),
        ("prefix = \"bridge\"", ETCD.to_owned()),
        ("prefix = \"a//b/\"\nelsewhere = 1", ETCD.to_owned()),
    ] {
        let said = read(&format!("[state]\n{text}\n{sources}"), &[]).unwrap_err();
        let expected = match (text, sources.len()) {
            ("file = \"state.json\"", _) => "state.file: is for folders only",
            ("source = \"folder\"", len) if len > FILE.len() => "must be \"etcd\"",
            ("source = \"folder\"", _) => "name a file instead, file = \"state.json\"",
            ("source = \"other\"", len) if len > FILE.len() => {
                "is not a source; must be \"consul\" or \"etcd\""
            }
            ("source = \"other\"", _) => "`other` is not a source",
            _ => "must be a path that ends with /",
        };
        assert!(said.contains(expected), "{text}\n{said}");
    }
}
