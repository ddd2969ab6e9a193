//! What the file says of listeners, exposures and clusters.

use expect_test::expect;

use super::{SAMPLE, read, wrong};

#[test]
fn what_listeners_and_exposures_may_say() {
    let text = format!(
        "{SAMPLE}[exposures.internal.owners]\n\"web/login\" = \"auth\"\n\"*.shop\" = [\"a\", \"b\"]\n\
         [listeners.a]\naddress = \"[::ffff:127.0.0.1]:80\"\nhttp10 = false\nupgrades = []\n\
         [listeners.b]\naddress = \"[::]:81\"\n"
    );
    let config = read(&text, &[]).unwrap();
    let one = |o: &xds_bridge::config::Owner| format!("{} {:?} {:?}", o.host, o.paths, o.services);
    let owners: Vec<String> = config.exposures["internal"].owners.iter().map(one).collect();
    assert_eq!(
        owners.join(", "),
        r#"*.shop Segments("/") ["a", "b"], web Segments("/login") ["auth"]"#
    );
    let listener = |name: &str| {
        let l = &config.listeners[name];
        format!("{:?} {} {}", l.bind, l.http10, l.upgrades.join(","))
    };
    assert_eq!(listener("a"), "Address(127.0.0.1:80) false ");
    assert_eq!(listener("b"), "Address([::]:81) true websocket");
    let text = format!(
        "{SAMPLE}[clusters]\nidle_timeout = \"0.4ms\"\n[exposures.internal.owners]\n\"web:80\" = \"auth\"\n\
         \"web//x\" = \"auth\"\n\"web\" = \"*\"\n[exposures.internal]\npaths = [\"/a*b\"]\n\
         [listeners.a]\naddress = \"0.0.0.0:80\"\nupgrades = [\"h2c\"]\n[listeners.b]\naddress = \"[::]:80\"\n"
    );
    wrong(
        &text,
        &[],
        expect![[r#"
        7 mistakes in the configuration
          etc/bridge.toml:5: clusters.idle_timeout: `0.4ms` is not a duration such as 250ms, 2s or 1m (0s, or from 1ms to 24h)
          etc/bridge.toml:7: exposures.internal.owners.web:80: `web:80` must be a host without port, `*.` and a host, or `*`
          etc/bridge.toml:8: exposures.internal.owners.web//x: `//x` must hold no //, /./ or /../
          etc/bridge.toml:9: exposures.internal.owners.web: `*` means everything in xDS and cannot name a service
          etc/bridge.toml:11: exposures.internal.paths: `/a*b` holds a * that is not its last character: /orders* is what begins with /orders; such as / or /{service}/
          etc/bridge.toml:14: listeners.a.upgrades: `h2c` must be a protocol that a request is upgraded to, such as websocket
          etc/bridge.toml:16: listeners.b.address: takes the port of listeners.a, too, as [::] takes IPv4; [::] alone is enough
    "#]],
    );
}
