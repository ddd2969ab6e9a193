//! `[external.NAME]`.

use expect_test::expect;

use super::{SAMPLE, read, wrong};

#[test]
fn what_no_registry_knows_has_addresses_and_the_keys_of_a_service() {
    let text = format!(
        "{SAMPLE}[external.maps]\naddresses = [\"Maps.example.com:443\"]\ndns = \"logical\"\nprotocol = \"http2\"\n\
         route = \"path=/maps\"\nroute-2 = \"path=/geo timeout=2s\"\n\
         [external.archive]\naddresses = [\"192.0.2.40:80\", \"[2001:db8::1]:80\"]\n\
         [external.gone]\nroute = \"path=/old respond=410\"\n"
    );
    let config = read(&text, &[]).unwrap();
    let shown = config.externals.iter().map(|(name, external)| {
        let routes = external.policy.routes.values().map(ToString::to_string);
        let routes: Vec<String> = routes.collect();
        format!("{name} {:?} {:?} {routes:?}\n", external.addresses, external.dns)
    });
    expect![[r#"
        archive [("192.0.2.40", 80), ("2001:db8::1", 80)] None []
        gone [] None ["path=/old respond=410"]
        maps [("maps.example.com", 443)] Some(Logical) ["path=/maps", "path=/geo timeout=2s"]
    "#]]
    .assert_eq(&shown.collect::<String>());
}

#[test]
fn each_mistake_is_named() {
    let text = format!(
        "{SAMPLE}[external.a]\naddresses = [\"a.example.com\", \"b:0\"]\n[external.b]\ndns = \"strict\"\n\
         [external.c]\naddresses = [\"a.test:1\", \"b.test:1\"]\ndns = \"logical\"\nversion = \"1\"\nroute = \"x\"\n\
         rout-2 = \"path=/\"\nexpose = \"egde\"\n[external.xds-bridge]\naddresses = [\"a.test:1\"]\n"
    );
    wrong(
        &text,
        &[],
        expect![[r#"
            10 mistakes in the configuration
              etc/bridge.toml:5: external.a.addresses: `a.example.com` must be HOST:PORT, such as maps.example.com:80 or 10.0.0.7:80
              etc/bridge.toml:5: external.a.addresses: `b:0` must be HOST:PORT, such as maps.example.com:80 or 10.0.0.7:80
              etc/bridge.toml:6: external.b.addresses: is missing; for example addresses = ["maps.example.com:80"], or a route that needs none
              etc/bridge.toml:7: external.b.dns: there is no name among the addresses
              etc/bridge.toml:10: external.c.dns: logical: Envoy takes one name; with several use "strict"
              etc/bridge.toml:11: external.c.version: is a key of one instance, not of a service
              etc/bridge.toml:12: external.c.route: `x` is not key=value; `xds-bridge keys` lists the words of a route
              etc/bridge.toml:13: external.c.rout-2: unknown key; did you mean `route-2`?
              etc/bridge.toml:14: external.c.expose: `egde` is not an exposure
              etc/bridge.toml:15: external.xds-bridge: `xds-bridge` is the cluster that each Envoy reaches the bridge by and cannot name a service
        "#]],
    );
}
