//! Odd but valid registrations against real Envoys, delta and state of the world: nothing that one service says may
//! make Envoy refuse a response, whatever the others are. A generator with a seed; the normal suite plays a few
//! rounds. For longer, and with other seeds: `ODD_SECONDS=600 ODD_SEED=7 cargo test --test integration odd::`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use xds_bridge::model::Key;
use xds_bridge::model::keys::Scope;
use xds_bridge::model::route::WORDS;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::{Call, Client};
use crate::support::pki::Ca;
use crate::support::process;
use crate::support::wait;

mod keys;
mod lists;
mod words;

/// Public keys of nobody that matters.
const KEYS: &str = concat!(
    r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"#,
    r#"-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#
);

/// Of one round, all new.
const SERVICES: usize = 80;
/// Rounds of the normal suite.
const ROUNDS: usize = 4;

/// Names that have a meaning somewhere on the way, or that a parser might trip over.
const NAMES: &[&str] = &[
    "xdstp:",
    "xdstp://",
    "xdstp://a/envoy.config.cluster.v3.Cluster/b",
    "xdstp://a/t/b?x=1&y=2",
    "XDSTP://a/b",
    "xds:///orders",
    "*.example",
    "a*",
    "*a",
    "**",
    "/",
    "//",
    "a/b",
    ".",
    "..",
    "...",
    "a..b",
    ".a",
    "a.",
    "-",
    "--",
    "_",
    "%",
    "%41",
    "%2f",
    "%zz",
    "a?b",
    "a#b",
    "#",
    "?",
    "a&b=c",
    "a:b",
    ":",
    ":80",
    "a:80",
    "[::1]",
    "[::1]:80",
    "10.0.0.1",
    "10.0.0.1:80",
    "::1",
    "localhost",
    "a b",
    " ",
    " a",
    "a ",
    "ü",
    "日本",
    "🦀",
    "e\u{301}",
    "\u{feff}",
    "\u{200b}",
    "\u{202e}abc",
    "\u{10ffff}",
    "\"",
    "'",
    "\\",
    "{}",
    "{service}",
    "$",
    "${a}",
    "%REQ(x)%",
    "%%",
    "\u{7f}",
    "null",
    "true",
    "0",
    "-1",
    "1e9",
    "NaN",
    "A",
    "a",
    "Orders",
    "orders",
    "ORDERS",
    "orders.",
    "internal",
    "edge",
    "xds-bridge",
    "xds-bridge-2",
    "ads",
    "grpc",
    "http",
    "default",
    "envoy",
    "x-envoy",
    "cluster.x",
    "a|b",
    "a,b",
    "a;b",
    "a=b",
    "a@b",
    "~",
    "`",
    "!",
    "^",
    "<a>",
    "a\u{a0}b",
    "ß",
    "İ",
    "ǅ",
    "xn--",
    "xn--a",
    "xn--mnchen-3ya",
];

const PIECES: &[&str] = &[
    "a", "B", "0", "-", "_", ".", "/", "*", "%", ":", "ü", " ", "?", "#", "[", "]", "{", "}", "\\",
];

/// xorshift: the same in each run with the same seed; and the port of the listener for connections.
struct Dice(u64, u16);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(usize::MAX) % sides
    }

    fn of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.roll(list.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }

    fn name(&mut self) -> String {
        match self.roll(6) {
            0 => (0..=self.roll(8)).map(|_| self.of(PIECES)).collect(),
            1 => format!("{}{}", self.of(NAMES), self.roll(100)),
            2 => format!("s{}{}", self.roll(100), self.of(NAMES)),
            3 => self.of(PIECES).repeat(1 + self.roll(200)),
            _ => self.of(NAMES).to_owned(),
        }
    }

    /// A matcher, and a few other words: the more there are, the more often one of them is wrong.
    fn route(&mut self) -> String {
        let mut words = Vec::new();
        if self.one_in(2) {
            words.push(self.word("host"));
        }
        match self.roll(9) {
            8 => words.push(self.word("port")),
            0 => words.push(self.word("grpc")),
            1 => words.push(self.word("regex")),
            2 => words.push(self.word("exact")),
            3 => words.push(self.word("sni")),
            4 | 5 => words.push(self.word("path")),
            _ => {}
        }
        for _ in 0..self.roll(4) {
            let (name, _) = words::OF_ROUTE[self.roll(words::OF_ROUTE.len())];
            words.push(self.word(name));
        }
        words.join(" ")
    }

    /// A word with one of its values, in quotes where a value has spaces.
    fn word(&mut self, name: &'static str) -> String {
        let value = self.of(pool(words::OF_ROUTE, name));
        let value = value.replace("PORT", &self.1.to_string());
        if value.contains(' ') {
            format!("{name}=\"{}\"", value.replace('"', "\\\""))
        } else {
            format!("{name}={value}")
        }
    }

    fn service(&mut self) -> Value {
        let mut entry = json!({});
        for (key, values) in keys::OF_SERVICE {
            // The protocol decides what the others mean.
            if self.one_in(if *key == "protocol" { 2 } else { 10 }) {
                entry[*key] = json!(self.of(values));
            }
        }
        for n in 1..=self.roll(4) {
            let key = if n == 1 {
                "route".to_owned()
            } else {
                format!("route-{n}")
            };
            entry[key] = json!(self.route());
        }
        let instances: Vec<Value> = (0..self.roll(5)).map(|n| self.instance(n)).collect();
        entry["instances"] = json!(instances);
        entry
    }

    fn instance(&mut self, n: usize) -> Value {
        let address = self.of(&[
            "127.0.0.1",
            "10.255.255.255",
            "255.255.255.255",
            "169.254.0.1",
            "::1",
            "fe80::1",
            "::ffff:10.0.0.9",
            "2001:db8::",
            "192.0.2.1",
            "240.0.0.1",
            "100.64.0.1",
            "::127.0.0.1",
            "64:ff9b::1",
            "ff02::1",
            "0.0.0.1",
            "fe80::1%eth0",
        ]);
        let mut instance = json!({
            "id": format!("{n}{}", self.of(NAMES)),
            "address": address,
            "port": ([1, 80, 65_535, 0][self.roll(4)]),
        });
        for (key, values) in keys::OF_INSTANCE {
            if self.one_in(2) {
                instance[*key] = json!(self.of(values));
            }
        }
        instance
    }
}

/// The values of this name.
fn pool(pools: &'static [(&'static str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    let found = pools.iter().find(|(of, _)| *of == name);
    found
        .unwrap_or_else(|| panic!("integration/odd has no values of `{name}`"))
        .1
}

/// Whatever a service can say has its values.
fn assert_nothing_is_missing() {
    for key in Key::ALL {
        let row = key.row();
        match row.scope() {
            _ if row.numbered => continue,
            Scope::Service => pool(keys::OF_SERVICE, row.name),
            Scope::Instance => pool(keys::OF_INSTANCE, row.name),
        };
    }
    for word in &WORDS {
        pool(words::OF_ROUTE, word.name);
    }
}

/// What services may refer to: filters, callers and certificates of the operator.
fn operator(folder: &Path, edge: u16, ports: u16) -> String {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writing");
        path.display().to_string()
    };
    let (authority, corp) = (write("ca.pem", &Ca::new().pem), write("corp.json", KEYS));
    format!(
        "[clusters]\nkeep_routes = \"0s\"\n\n\
         [exposures.edge]\nhosts = [\"*.example\", \"*.odd.example\", \"orders\"]\nsni = [\"*\"]\n\
         paths = [\"/\"]\n\n\
         [exposures.edge.jwt.corp]\nissuer = \"https://login.example\"\naudiences = [\"shop\"]\n\
         file = \"{corp}\"\nrequire = false\n\n\
         [tls.shop]\nca = \"{authority}\"\n\n\
         [callers]\nweb = \"spiffe://shop/web\"\nedge = [\"dns:edge.shop\", \"spiffe://shop/*/edge\"]\n\n\
         [listeners.edge]\naddress = \"127.0.0.1:{edge}\"\nexposure = \"edge\"\n\n\
         [listeners.ports]\naddress = \"127.0.0.1:{ports}\"\nexposure = \"edge\"\nprotocol = \"tcp\"\n"
    )
}

#[expect(clippy::disallowed_methods, reason = "how long to play")]
fn now() -> Instant {
    Instant::now()
}

/// Each round is read whole by whoever has the route of its sentinel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_never_make_envoy_refuse_anything() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ODD_SEED").unwrap_or(0x9E37_79B9_7F4A_7C15).max(1);
    let until = number("ODD_SECONDS").map(|seconds| now() + Duration::from_secs(seconds));
    assert_nothing_is_missing();
    let (folder, secrets) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    let file = folder.path().join("odd.json");
    std::fs::write(&file, "{}").expect("writing");
    let [edge, ports] = process::ports();
    let bridge = Bridge::start(&format!(
        "[sources.files]\nkind = \"file\"\npath = \"{}\"\n\n{}",
        folder.path().display(),
        operator(secrets.path(), edge, ports)
    ))
    .await;
    let delta = bridge.envoy(Step::Listeners, &[]).await;
    let mut dice = Dice(seed, ports);
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let mut rounds = 0;
    // One Envoy after the other has the listeners' ports; what it is told at its start is as odd as later changes.
    drop(delta);
    for sotw in [false, true] {
        let _envoy = if sotw {
            bridge.envoy_sotw(Step::Listeners, &[]).await
        } else {
            bridge.envoy(Step::Listeners, &[]).await
        };
        let half = until.map(|until| {
            if sotw {
                until
            } else {
                now() + until.duration_since(now()) / 2
            }
        });
        let first = rounds;
        let listeners = [edge, bridge.listener.port()].map(|port| Client::new(([127, 0, 0, 1], port).into()));
        while half.map_or(rounds < first + ROUNDS, |half| now() < half) {
            rounds += 1;
            let mut services = json!({});
            for _ in 0..SERVICES {
                services[dice.name()] = dice.service();
            }
            let host = format!("round-{rounds}.odd.example");
            services["sentinel"] = json!({
                "expose": "edge,internal", "route": format!("host={host} respond=418"),
                "instances": [{"address": "127.0.0.1", "port": 1}],
            });
            let text = json!({ "services": services }).to_string();
            let draft = folder.path().join("draft");
            std::fs::write(&draft, text).expect("writing");
            std::fs::rename(&draft, &file).expect("in one step");
            arrives(&bridge, &listeners, &Call::http(&host)).await;
            refused.extend(refusals(&bridge.log()));
            let ready = bridge.text("/readyz").await.expect("an answer");
            assert!(
                ready.contains("files (file): live"),
                "seed {seed}, round {rounds}: {ready}"
            );
        }
    }
    let mut report = String::new();
    for line in &refused {
        let _ = writeln!(report, "{line}");
    }
    println!("{rounds} rounds of {SERVICES} services, seed {seed}");
    assert!(
        refused.is_empty(),
        "seed {seed}, {rounds} rounds; Envoy refused:\n{report}"
    );
    bridge.assert_no_nacks().await;
}

/// Until both listeners have the routes of this round, or something was refused.
async fn arrives(bridge: &Bridge, listeners: &[Client], sentinel: &Call) {
    let refused = refusals(&bridge.log()).count();
    wait::until(wait::PATIENCE, "the routes arrive", async || {
        for client in listeners {
            let answer = client.call(sentinel).await;
            let arrived = answer.as_ref().is_err_and(|refusal| refusal.code == "http 418");
            let outcome = arrived || refusals(&bridge.log()).count() > refused;
            wait::holds(outcome, || format!("{answer:?}"))?;
        }
        Ok(())
    })
    .await;
}

fn refusals(log: &str) -> impl Iterator<Item = String> {
    log.lines()
        .filter(|line| line.contains("refused a response") || line.contains("nack"))
        .map(str::to_owned)
}
