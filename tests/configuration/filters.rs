//! What stands in front of the routes of an exposure, and `[callers]`.

use expect_test::expect;

use super::{SAMPLE, read, wrong};
use xds_bridge::model::filters::Keys;

#[test]
fn filters_are_of_their_exposure() {
    let config = read(
        &format!(
            "{SAMPLE}[callers]\n\"*\" = \"spiffe://shop/{{caller}}\"\nweb = [\"dns:web.shop\", \"spiffe://old/web\"]\n\
             [exposures.edge]\nhosts = [\"a.test\"]\nallow_ips = [\"10.0.0.0/8\"]\n[exposures.edge.rate_limit]\nrequests = \
             10\n[exposures.edge.jwt.corp]\nissuer = \"corp\"\naudiences = [\"shop\"]\nfile = \"keys.json\"\n\
             [listeners.edge]\naddress = \"127.0.0.1:1\"\nexposure = \"edge\"\n"
        ),
        &[],
    )
    .unwrap();
    let filters = &config.exposures["edge"].filters;
    assert_eq!(
        filters.rate_limit.map(|limit| limit.show()).as_deref(),
        Some("10/s")
    );
    assert_eq!(filters.anonymous, ["edge".into()]);
    assert!(filters.jwt["corp"].require && filters.jwt["corp"].keys == Keys::File);
    let followed = config.secrets();
    assert_eq!(
        followed["exposures/edge/jwt/corp"].jwks.as_deref(),
        Some(std::path::Path::new("etc/keys.json"))
    );
    // Callers are the same everywhere.
    let inside = &config.exposures["internal"].filters;
    assert!(!inside.knows_addresses() && inside.anonymous.is_empty());
    assert_eq!(inside.callers.of("web").len(), 2);
    assert_eq!(inside.callers.of("edge"), ["spiffe://shop/edge"]);
}

#[test]
fn a_filter_that_cannot_be_read_is_a_mistake() {
    wrong(
        &format!(
            "{SAMPLE}[callers]\n\"*\" = \"spiffe://shop/web\"\nweb = \"web\"\nedge = \"spiffe://shop/{{caller}}\"\n\
             [exposures.edge]\nhosts = [\"a.test\"]\nallow_ips = []\ndeny_ips = [\"10.0.0.1/8\"]\ncompress = [\"lz4\"]\n\
             [exposures.edge.rate_limit]\nrequests = 10\nper = \"10ms\"\nburst = 5\n[exposures.edge.jwt.a]\nissuer = \"a\"\n\
             [exposures.edge.jwt.b]\nissuer = \"b\"\naudiences = [\"x\"]\nurl = \"login\"\n[exposures.edge.jwt.c]\nissuer = \
             \"c\"\naudiences = [\"x\"]\nfile = \"c\"\ncache = \"1m\"\n[exposures.edge.authorization]\nservice = \"check\"\n\
             path_prefix = \"/x\"\non_failure = \"open\"\n[exposures.inside]\nhosts = [\"*\"]\ndeny_ips = [\"10.0.0.1\"]\n\
             [listeners.inside]\ninternal = true\nexposure = \"inside\"\n"
        ),
        &[],
        expect![[r#"
            16 mistakes in the configuration
              etc/bridge.toml:4: callers: edge: {caller} stands in the line of `*` only
              etc/bridge.toml:4: callers: *: must hold {caller}, such as "spiffe://shop/{caller}": else each name is the same caller
              etc/bridge.toml:6: callers.web: `web` must be a URI such as spiffe://shop/web, or dns: and a name such as dns:web.shop
              etc/bridge.toml:10: exposures.edge.allow_ips: is empty: nobody could come; leave it out to let all in
              etc/bridge.toml:11: exposures.edge.deny_ips: `10.0.0.1/8`: the range begins at 10.0.0.0/8
              etc/bridge.toml:12: exposures.edge.compress: `lz4` must be gzip, brotli or zstd
              etc/bridge.toml:15: exposures.edge.rate_limit.per: must be at least 50ms
              etc/bridge.toml:16: exposures.edge.rate_limit.burst: must be at least as many as requests
              etc/bridge.toml:17: exposures.edge.jwt.a.audiences: which tokens are meant for what is behind this exposure? for example audiences = ["shop"]
              etc/bridge.toml:17: exposures.edge.jwt.a: where are the keys? file = "keys.json", or url = "https://login.example.com/keys" with service = "login"
              etc/bridge.toml:19: exposures.edge.jwt.b: where are the keys? file = "keys.json", or url = "https://login.example.com/keys" with service = "login"
              etc/bridge.toml:22: exposures.edge.jwt.b.url: `login` must be a URL such as https://login.example.com/keys
              etc/bridge.toml:26: exposures.edge.jwt.c.file: is read by the bridge: service and cache belong to url
              etc/bridge.toml:28: exposures.edge.authorization.protocol: path_prefix, request_headers and upstream_headers are for protocol = "http": by gRPC it gets all headers
              etc/bridge.toml:31: exposures.edge.authorization.on_failure: `open` must be "deny" or "allow"
              etc/bridge.toml: listeners.inside.internal: exposures.inside lets clients in by their addresses, and inside of Envoy they have none
        "#]],
    );
}

#[test]
fn connections_without_http_pass_no_filter() {
    let mistakes = |more: &str| {
        let text =
            format!("{SAMPLE}[exposures.edge]\nhosts = [\"a.test\"]\ndeny_ips = [\"10.0.0.1\"]\n{more}");
        read(&text, &[]).map(drop)
    };
    assert_eq!(mistakes(""), Ok(()));
    for more in [
        "sni = [\"a.test\"]\n",
        "[listeners.l]\naddress = \"127.0.0.1:1\"\nexposure = \"edge\"\nprotocol = \"tcp\"\n",
    ] {
        let error = mistakes(more).unwrap_err();
        assert!(error.contains("do not pass the filters"), "{error}");
    }
}
