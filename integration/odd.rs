//! Odd but valid registrations against real Envoys, delta and state of the world: nothing that one service says may
//! make Envoy refuse a response, whatever the others are. A generator with a seed; the normal suite plays a few
//! rounds. For longer, and with other seeds: `ODD_SECONDS=600 ODD_SEED=7 cargo test --test integration odd::`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::bridge::{Bridge, Step};
use crate::support::process;

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

const HOSTS: &[&str] = &[
    "api.example",
    "API.example",
    "a.example",
    "-",
    "_",
    "a_b",
    "a--b",
    "0",
    "1.2.3.4",
    "1.2.3.4.5",
    "a.b.c.d.e",
    "orders",
    "internal",
    "x.-y",
    "xn--a",
    "localhost",
    "*.example",
    "a.example.",
    "a.example:80",
    "a..b",
];

const PATHS: &[&str] = &[
    "/", "//", "///", "/a", "/a/", "/a//", "/a*", "/*", "/a/*", "/**", "/a/b/c", "/.", "/..", "/a/../b",
    "/%", "/%2f", "/%zz", "/ü", "/a;b", "/a&b", "/a=b", "/a:b", "/a@b", "/~", "/!", "/'", "/\"", "/\\",
    "/{a}", "/[a]", "/a|b", "/$", "/^", "/`", "/<a>", "/+", "/,", "/(", "/)", "/-", "/_", "a", "", "/a?b",
    "/a#b",
];

const HEADERS: &[&str] = &[
    "x-a:1",
    "X-A:1",
    ":path:/",
    ":method:GET",
    ":authority:a",
    "host:a",
    "cookie:a=b",
    "x:%",
    "x:%REQ(y)%",
    "x:*",
    "x:a:b",
    "!:1",
    "#:1",
    "~:1",
    "^:1",
    "`:1",
    "content-length:0",
    "x-envoy-retry-on:5xx",
    "x:{}",
    "x:\"",
    "x:\\",
    "grpc-timeout:1S",
    "te:trailers",
    "connection:close",
    "x:",
    ":1",
];

const GRPC: &[&str] = &[
    "shop.Orders",
    "a",
    "_",
    "A.B.C/Get",
    "a/b",
    "a.b/c",
    "0",
    "a/0",
    ".a",
    "a/",
    "a.b/c.d",
];

const TIMES: &[&str] = &[
    "0s",
    "0ms",
    "1ms",
    "1.5ms",
    "0.001s",
    "24h",
    "23.9999h",
    "1440m",
    "86400s",
    "0.9999999s",
    "3.3333333333s",
    "5",
    "-1s",
    "1e3s",
    "25h",
    "0.4ms",
];

const ZONES: &[&str] = &[
    "",
    "a",
    "a.b",
    "*",
    "%",
    "\u{fc}",
    "zone with space",
    "a/b",
    "~",
    "{",
    "\"",
    "priority-1",
];

/// xorshift: the same in each run with the same seed.
struct Dice(u64);

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

    fn route(&mut self) -> String {
        let mut words = Vec::new();
        if self.one_in(2) {
            words.push(format!("host={}", self.of(HOSTS)));
        }
        if self.one_in(4) {
            words.push(format!("grpc={}", self.of(GRPC)));
        } else if self.one_in(2) {
            words.push(format!("path={}", self.of(PATHS)));
        }
        for _ in 0..self.roll(3) {
            words.push(format!("header={}", self.of(HEADERS)));
        }
        if self.one_in(3) {
            words.push(format!("timeout={}", self.of(TIMES)));
        }
        if self.one_in(3) {
            words.push(format!("stream-idle-timeout={}", self.of(TIMES)));
        }
        words.join(" ")
    }

    fn service(&mut self) -> Value {
        let mut entry = json!({});
        for key in ["timeout", "stream-idle-timeout", "idle-timeout"] {
            if self.one_in(3) {
                entry[key] = json!(self.of(TIMES));
            }
        }
        if self.one_in(2) {
            entry["protocol"] = json!(self.of(&["http1", "http2", "grpc", "tcp"]));
        }
        if self.one_in(2) {
            entry["expose"] = json!(self.of(&["edge", "internal", "edge,internal", "none", "nowhere"]));
        }
        if self.one_in(3) {
            entry["all-unhealthy"] = json!(self.of(&["open", "closed", "drop"]));
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
        json!({
            "id": format!("{n}{}", self.of(NAMES)),
            "address": address,
            "port": ([1, 80, 65_535, 0][self.roll(4)]),
            "weight": self.of(&["0", "1", "128000", "7", "x"]),
            "zone": self.of(ZONES),
            "version": self.of(&["", "v1", "%", "*", "a b", "ü"]),
            "state": self.of(&["up", "drain", "off", "up", "up"]),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to play")]
fn now() -> Instant {
    Instant::now()
}

/// Everything is served by the name of its round, so each round is read whole by whoever has its sentinel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_never_make_envoy_refuse_anything() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ODD_SEED").unwrap_or(0x9E37_79B9_7F4A_7C15).max(1);
    let until = number("ODD_SECONDS").map(|seconds| now() + Duration::from_secs(seconds));
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("odd.json");
    std::fs::write(&file, "{}").expect("writing");
    let [edge] = process::ports();
    let bridge = Bridge::start(&format!(
        "[sources.files]\nkind = \"file\"\npath = \"{}\"\n\n[exposures.edge]\nhosts = [\"*.example\", \"*.odd.example\", \
         \"orders\"]\npaths = [\"/\"]\n\n[listeners.edge]\naddress = \"127.0.0.1:{edge}\"\nexposure = \"edge\"\n",
        folder.path().display()
    ))
    .await;
    let delta = bridge.envoy(Step::Listeners, &[]).await;
    let mut dice = Dice(seed);
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let mut rounds = 0;
    // One Envoy after the other has the listeners' ports; what it is told at its start is as odd as later changes.
    drop(delta);
    for sotw in [false, true] {
        let envoy = if sotw {
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
        while half.map_or(rounds < first + ROUNDS, |half| now() < half) {
            rounds += 1;
            let mut services = json!({});
            for _ in 0..SERVICES {
                services[dice.name()] = dice.service();
            }
            let port = u16::try_from(1_000 + rounds % 60_000).expect("a port");
            let here = SocketAddr::from(([127, 0, 0, 1], port));
            services["sentinel"] = json!({"instances": [{"address": "127.0.0.1", "port": port}]});
            let text = json!({ "services": services }).to_string();
            let draft = folder.path().join("draft");
            std::fs::write(&draft, text).expect("writing");
            std::fs::rename(&draft, &file).expect("in one step");
            envoy.has_hosts("sentinel", &[here]).await;
            // Clusters and endpoints are there; what is refused of listeners and routes is told with the next ones.
            refused.extend(refusals(&bridge.log()));
        }
        envoy
            .has_hosts(
                "sentinel",
                &[SocketAddr::from((
                    [127, 0, 0, 1],
                    u16::try_from(1_000 + rounds % 60_000).expect("a port"),
                ))],
            )
            .await;
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

fn refusals(log: &str) -> impl Iterator<Item = String> {
    log.lines()
        .filter(|line| line.contains("refused a response") || line.contains("nack"))
        .map(str::to_owned)
}
