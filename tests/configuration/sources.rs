//! Sections of sources: their order, and what is wrong in them.

use expect_test::expect;
use xds_bridge::config::{ConsulSource, SourceConfig};
use xds_bridge::source::{Budget, build};

use super::{read, wrong};

#[test]
fn a_source_can_stand_behind_the_others() {
    let two = "[sources.here]\nkind = \"file\"\npath = \"a\"\n[sources.there]\nkind = \"file\"\npath = \"b\"\npriority = 2\n";
    let priorities = read(two, &[]).unwrap().priorities;
    assert_eq!(priorities.into_iter().collect::<Vec<_>>(), [("there".into(), 2)]);
    wrong(
        &two.replace("= 2", "= 101"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:7: sources.there.priority: `101` must be a whole number from 0 to 100
        "#]],
    );
}

#[test]
fn mistakes_below_a_wrong_kind_are_shown_too() {
    wrong(
        "[sources.a]\nkind = \"etdc\"\nendpoints = [\"nowhere\"]\nprefx = \"/a/\"\n[sources.b]\nkind = \"zookeeper\"\nservers = \"x\"\n",
        &[],
        expect![[r#"
            4 mistakes in the configuration
              etc/bridge.toml:2: sources.a.kind: `etdc` must be "file" or "etcd" or "consul"
              etc/bridge.toml:3: sources.a.endpoints: `nowhere` must be http://HOST:PORT or https://HOST:PORT
              etc/bridge.toml:4: sources.a.prefx: is not a known key; did you mean `prefix`?
              etc/bridge.toml:6: sources.b.kind: `zookeeper` must be "file" or "etcd" or "consul"
        "#]],
    );
}

#[test]
fn withheld_instances_are_probed_unless_that_is_turned_off() {
    let sources = [
        "[sources.s]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:1\"]\nprefix = \"/services/\"\n",
        "[sources.s]\nkind = \"consul\"\naddress = \"http://127.0.0.1:1\"\n",
    ];
    for source in sources {
        let probe = |text: &str| {
            let config = read(text, &[]).unwrap();
            let source = build(&config.sources["s"], &Budget::default());
            source.guard().unwrap().probe
        };
        assert!(probe(source));
        assert!(!probe(&format!("{source}guard_probe = false\n")));
    }
}

#[test]
fn what_is_read_of_consul_and_from_where() {
    let text = "[sources.c]\nkind = \"consul\"\naddress = \"unix:///run/consul/http.sock\"\n\
        datacenter = \"eu-1\"\nnamespace = \"Shop\"\npartition = \"a\"\npeer = \"west\"\n\
        services = [\"orders\", \"users ü/1\"]\nignore_services = [\"*-test\"]\ntags = [\"prod\"]\n\
        meta = [\"env=a=b\"]\nkinds = [\"service\", \"mesh-gateway\"]\npreferred_address = \"wan_ipv4\"\nmax_watches = 5000\n";
    let config = read(text, &[]).unwrap();
    let source = &config.sources["c"];
    assert_eq!(
        build(source, &Budget::default()).registry().unwrap(),
        "consul unix:///run/consul/http.sock eu-1 ns=Shop partition=a peer=west"
    );
    let SourceConfig::Consul(consul) = source else {
        panic!("a consul source")
    };
    let selection = &consul.selection;
    assert_eq!(selection.services, ["orders", "users ü/1"]);
    assert_eq!(
        (&selection.ignore_services[0], &selection.tags[0]),
        (&"*-test".to_owned(), &"prod".to_owned())
    );
    assert_eq!(selection.meta, [("env".to_owned(), "a=b".to_owned())]);
    assert_eq!(selection.kinds, ["", "mesh-gateway"]);
    assert_eq!(selection.preferred_address, "wan_ipv4");
    assert_eq!(consul.max_watches, 5000);

    let plain = "[sources.c]\nkind = \"consul\"\naddress = \"http://127.0.0.1:8500\"\n";
    let config = read(plain, &[]).unwrap();
    let SourceConfig::Consul(consul) = &config.sources["c"] else {
        panic!("a consul source")
    };
    assert_eq!(**consul, ConsulSource::new("http://127.0.0.1:8500".to_owned()));
    assert_eq!(consul.max_watches, 150);
}

#[test]
fn mistakes_in_a_consul_source_have_their_lines() {
    let text = "\
[sources.a]
kind = \"consul\"
address = \"unix://run/consul.sock\"
datacenter = \"eu 1\"
namespace = \"\"
services = []
tags = \"prod\"
meta = [\"env\", \"=x\"]
kinds = [\"sidecar\"]
preferred_address = \"\"
prefered_address = \"wan\"

[sources.a.tls]
ca = \"ca.pem\"
certificate = \"bridge.pem\"
server_name = \"a b\"

[sources.b]
kind = \"consul\"
address = \"127.0.0.1:8500\"
peer = \"west\"
services = [\"shop-*\"]
max_watches = 0
";
    wrong(
        text,
        &[],
        expect![[r#"
        16 mistakes in the configuration
          etc/bridge.toml:3: sources.a.address: `unix://run/consul.sock` must be unix:// and the whole path of the socket, unix:///run/consul/http.sock
          etc/bridge.toml:4: sources.a.datacenter: `eu 1` is not the name of a datacenter: 1 to 64 letters, digits, - and _
          etc/bridge.toml:5: sources.a.namespace: `` is not the name of a namespace: 1 to 64 letters, digits, - and _
          etc/bridge.toml:6: sources.a.services: is empty; for example services = ["orders", "shop-*"], or leave it out
          etc/bridge.toml:7: sources.a.tags: must be a list of strings, ["…", "…"]
          etc/bridge.toml:8: sources.a.meta: `env` must be KEY=VALUE, such as env=prod
          etc/bridge.toml:8: sources.a.meta: `=x` must be KEY=VALUE, such as env=prod
          etc/bridge.toml:9: sources.a.kinds: `sidecar` must be "service" or "connect-proxy" or "mesh-gateway" or "terminating-gateway" or "ingress-gateway" or "api-gateway"
          etc/bridge.toml:10: sources.a.preferred_address: must not be empty
          etc/bridge.toml:11: sources.a.prefered_address: is not a known key; did you mean `preferred_address`?
          etc/bridge.toml:13: sources.a.tls: is of no use: the address must be https:// for TLS
          etc/bridge.toml:13: sources.a.tls.key: is missing: a certificate needs its key
          etc/bridge.toml:16: sources.a.tls.server_name: `a b` must be a DNS name
          etc/bridge.toml:20: sources.b.address: `127.0.0.1:8500` must be http://HOST:PORT, https://HOST:PORT or unix:///PATH
          etc/bridge.toml:21: sources.b.peer: needs services = ["…"] with each name in full: Consul lists no services of a peer
          etc/bridge.toml:23: sources.b.max_watches: `0` must be a whole number from 1 to 100000
    "#]],
    );
}
