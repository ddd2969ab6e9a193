//! `reload`: what changes is in force at once, said in words, and no request is lost; a file with a mistake changes nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::Etcd;
use crate::support::folder::Folder;
use crate::support::load::Load;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{process, raw, tls, wait};

/// Reloads under load, of each kind; `RELOAD_ROUNDS=100` is the long run of docs/operations.md.
fn rounds() -> usize {
    let asked = std::env::var("RELOAD_ROUNDS").ok();
    asked.map_or(10, |n| n.parse().expect("RELOAD_ROUNDS is a number"))
}

/// Everything that a reload puts into force.
const SECTIONS: [&str; 12] = [
    "sources",
    "exposures",
    "listeners",
    "clusters",
    "services",
    "external",
    "fleets",
    "overlay",
    "drain",
    "rollouts",
    "tls",
    "xds",
];

/// Between two requests by TLS.
const PACE: Duration = Duration::from_millis(50);

/// Requests by TLS, each on a connection of its own, from now on.
struct Secure {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    /// How many were sent, and each that failed.
    seen: Arc<Mutex<(u64, Vec<String>)>>,
}

impl Secure {
    fn start(at: SocketAddr, ca: Arc<Ca>) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::new(Mutex::new((0, Vec::new()))));
        let (ended, shared) = (stop.clone(), seen.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PACE);
            while ended.run_until_cancelled(ticks.tick()).await.is_some() {
                let answer = tls::get(at, "api.x", &ca).await.map(|(text, _)| text);
                let mut seen = shared.lock().expect("nobody panics");
                seen.0 += 1;
                if answer.as_deref() != Ok("web-1") {
                    seen.1.push(format!("{answer:?}"));
                }
            }
        });
        Self {
            stop,
            task: AbortOnDropHandle::new(task),
            seen,
        }
    }

    /// How many there were; none failed.
    async fn finish(self) -> u64 {
        self.stop.cancel();
        self.task.await.expect("nobody panics");
        let seen = self.seen.lock().expect("nobody panics");
        assert!(seen.1.is_empty(), "{} of {}: {:?}", seen.1.len(), seen.0, seen.1);
        seen.0
    }
}

/// What stays in each configuration: where requests come in.
struct Ports {
    edge: SocketAddr,
    secure: SocketAddr,
    extra: SocketAddr,
}

/// A configuration in which everything differs from that of the round before.
fn changed(n: usize, ports: &Ports, etcd: &str, pairs: &[[String; 2]; 2]) -> String {
    let (odd, third) = (n % 2, n % 3);
    let Ports { edge, secure, extra } = ports;
    let second = format!(
        "[formats.own]\nkey = \"{{service}}/nodes/{{id}}\"\nignore = [\"a{n}\"]\n[sources.second]\nkind = \"etcd\"\n\
         endpoints = [\"{etcd}\"]\nprefix = \"/own/\"\nformat = \"own\"\n"
    );
    let passing = format!("[listeners.extra]\naddress = \"{extra}\"\nexposure = \"edge\"\nhttp10 = false\n");
    let [first, last] = if odd == 0 { ["a", "b"] } else { ["b", "a"] };
    let pair = |name: &str, [certificate, key]: &[String; 2]| {
        format!("[tls.{name}]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    let mut text = format!(
        "[exposures.edge]\nhosts = [\"api.x\", \"h{n}.x\"]\ndeny_ips = [\"10.{odd}.0.0/16\"]\n\
         [callers]\nweb = \"spiffe://shop/{n}\"\n\
         [errors]\ncollect = {}\n\
         [listeners.edge]\naddress = \"{edge}\"\nexposure = \"edge\"\ntrusted_hops = {odd}\n\
         [listeners.secure]\naddress = \"{secure}\"\nexposure = \"edge\"\n\
         [listeners.secure.tls]\ncertificates = [\"{first}\", \"{last}\"]\n\
         [clusters]\nretries = {}\nconnect_timeout = \"{}ms\"\n\
         [services.\"web*\"]\ntimeout = \"{}s\"\n\
         [external.maps]\naddresses = [\"127.0.0.1:{}\"]\n\
         [fleets.proof]\nservices = [\"web*\", \"more\", \"n{n}\"]\n\
         [[overlay]]\ntype = \"cluster\"\nname = \"web\"\njson = '{{\"alt_stat_name\": \"web{n}\"}}'\n\
         [drain]\nlinger = \"{}s\"\n\
         [rollouts]\nstep_time = \"{}s\"\n",
        third == 0,
        1 + n % 5,
        800 + n,
        20 + n % 7,
        9_000 + n % 1_000,
        1 + n % 9,
        60 + n % 9,
    );
    text += &pair("a", &pairs[odd]);
    text += &pair("b", &pairs[1 - odd]);
    if third != 2 {
        text += &second;
    }
    if odd == 0 {
        text += &passing;
    }
    text
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).expect("bridge.toml");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_of_everything_that_can_change_lose_no_request() {
    let (web, more) = (Server::http("web-1").await, Server::http("more-1").await);
    let etcd = Etcd::start().await;
    let entry = json!({ "address": format!("127.0.0.1:{}", more.address.port()) });
    etcd.put("/own/more/nodes/1", entry.to_string()).await;
    let keys: &[_] = &[("expose", "internal,edge"), ("route", "host=api.x path=/")];
    let folder = Folder::of(&[("web", web.address, keys)]);
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Arc::new(Ca::new()));
    let name = || rcgen::SanType::DnsName("api.x".try_into().expect("a name"));
    let pairs = ["one", "two"].map(|file| ca.sign(dir.path(), file, name()));
    let [edge, secure, extra] = process::ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let ports = Ports { edge, secure, extra };

    let bridge = Bridge::start(&folder.section()).await;
    let file = bridge.file();
    let base = std::fs::read_to_string(&file).expect("bridge.toml");
    // The source itself is another one in each third round.
    let whole = |n: usize| {
        let limits = format!(
            "[xds]\nmax_streams = {}\nmax_requests_per_second = {}\nmax_stream_age = \"{}m\"\n",
            1_000 + n,
            500 + n,
            600 + n
        );
        let base = base.replace("[xds]\n", &limits);
        let priority = if n % 3 == 1 { "priority = 1\n" } else { "" };
        let base = base.replace("kind = \"file\"\n", &format!("kind = \"file\"\n{priority}"));
        format!("{base}{}", changed(n, &ports, &etcd.url(), &pairs))
    };
    write(&file, &whole(0));
    let output = bridge.command("reload").await;
    assert!(output.status.success(), "{}", output.stderr);
    let mut envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("web"), &["web-1"]).await;
    let client = crate::support::client::Client::new(edge);
    client.reaches(&Call::http("api.x"), &["web-1"]).await;
    wait::until(wait::PATIENCE, "the listener by TLS serves", async || {
        let (text, _) = tls::get(secure, "api.x", &ca).await?;
        wait::holds(text == "web-1", || text.clone())
    })
    .await;

    let internal = Load::start(envoy.listener(), &[Call::http("web")], 100, 4);
    let outside = Load::start(edge, &[Call::http("api.x")], 100, 4);
    let by_tls = Secure::start(secure, ca.clone());
    let (mut seen, rounds) = (BTreeSet::new(), rounds());
    for n in 1..=rounds {
        write(&file, &whole(n));
        let before = bridge.generation().await;
        if n % 5 == 0 {
            // By the signal, as systemd does it.
            bridge.signal("HUP");
            wait::until(wait::PATIENCE, "the file is in force", async || {
                let now = bridge.generation().await;
                wait::holds(now > before, || format!("generation {now}"))
            })
            .await;
        } else {
            let output = bridge.command("reload").await;
            assert!(output.status.success(), "{}", output.stderr);
            // Where what bridges share is, follows the registries that there are; nothing else takes a restart.
            let mut later = output.stdout.lines().filter(|line| line.starts_with('!'));
            assert!(
                later.all(|line| line.starts_with("! [state] differs")),
                "{n}: {}",
                output.stdout
            );
            let lines = output.stdout.lines();
            let names = lines.filter_map(|line| line.strip_prefix("in force: ")?.split(['.', ':']).next());
            seen.extend(names.map(str::to_owned));
        }
        internal.goes_on(10).await;
        outside.goes_on(10).await;
    }
    assert_eq!(seen, SECTIONS.map(str::to_owned).into(), "what a reload said");

    // The last one is in force.
    let extra_serves = rounds % 2 == 0;
    wait::until(wait::PATIENCE, "the last file is in force", async || {
        let answer = raw::get(extra, "api.x", "/").await;
        let serves = matches!(answer, Ok((200, _)));
        wait::holds(serves == extra_serves, || format!("{answer:?}"))
    })
    .await;
    let (internal, outside) = (internal.finish().await, outside.finish().await);
    let sent = internal.sent + outside.sent + by_tls.finish().await;
    println!("{rounds} reloads, {sent} requests, none lost");
    let least = u64::try_from(rounds).expect("some") * 10;
    internal.assert_clean(least);
    outside.assert_clean(least);
    bridge.assert_no_nacks().await;
    assert!(envoy.program().exited().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_says_what_changed_what_takes_a_restart_and_what_is_wrong() {
    let (web, more) = (Server::http("web-1").await, Server::http("more-1").await);
    let keys: &[_] = &[("expose", "internal,edge"), ("route", "host=api.x path=/")];
    let folder = Folder::of(&[("web", web.address, keys)]);
    let other = Folder::of(&[("more", more.address, &[][..])]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let write = |more: &str| std::fs::write(bridge.file(), format!("{text}{more}")).expect("bridge.toml");
    envoy.client().reaches(&Call::http("web"), &["web-1"]).await;
    let unchanged = bridge.command("reload").await;
    assert_eq!(
        unchanged.stdout,
        "the file says what is in force: nothing changes\n"
    );

    let [port] = process::ports();
    let second = other.section().replace("[sources.folder]", "[sources.second]");
    let with = |n: usize| {
        format!(
            "{second}[exposures.edge]\nhosts = [\"api.x\", \"h{n}.x\"]\n[listeners.edge]\naddress = \"127.0.0.1:{port}\"\n\
             exposure = \"edge\"\n[clusters]\nretries = {n}\n[external.maps]\naddresses = [\"127.0.0.1:9000\"]\n",
        )
    };
    for (file, wanted) in [
        (
            with(0),
            [
                "in force: sources.second: added",
                "in force: listeners.edge: added",
            ],
        ),
        (
            with(1),
            ["in force: exposures.edge: changed", "in force: clusters: changed"],
        ),
        (
            String::new(),
            [
                "in force: sources.second: removed",
                "in force: external.maps: removed",
            ],
        ),
    ] {
        write(&file);
        let output = bridge.command("reload").await;
        assert!(output.status.success(), "{}", output.stderr);
        let says = wanted.iter().all(|line| output.stdout.contains(line));
        assert!(says, "{}", output.stdout);
    }
    write(&with(0));
    assert!(bridge.command("reload").await.status.success());
    let edge = format!("127.0.0.1:{port}").parse().expect("an address");
    wait::until(wait::PATIENCE, "the new listener serves", async || {
        let (status, text) = raw::get(edge, "api.x", "/").await?;
        wait::holds(status == 200, || format!("{status} {text}"))
    })
    .await;
    envoy.client().reaches(&Call::http("more"), &["more-1"]).await;

    // A bound of streams: whoever has one keeps it, and one that begins is refused until there is room again.
    let doctor = |wanted: Option<i32>, words: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        let bootstrap = bridge.bootstrap(Step::Listeners, envoy.admin(), &[]);
        std::fs::write(dir.path().join("envoy.yaml"), bootstrap).expect("a file");
        let output = crate::support::bridge::run(&["doctor", "envoy.yaml"], dir.path());
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(output.status.code() == wanted && said.contains(words), "{said}");
    };
    doctor(Some(0), "first answer: 2 listeners");
    let bounded = |max: usize| {
        let file = format!("{text}{}", with(0)).replace("[xds]\n", &format!("[xds]\nmax_streams = {max}\n"));
        std::fs::write(bridge.file(), file).expect("bridge.toml");
    };
    bounded(1);
    let output = bridge.command("reload").await.stdout;
    assert_eq!(
        output,
        "in force: xds.max_streams: changed, for streams that begin\n"
    );
    doctor(Some(3), "there are 1 discovery streams already");
    bounded(2);
    assert!(bridge.command("reload").await.status.success());
    doctor(Some(0), "first answer: 2 listeners");

    // What takes a restart says so, and what does not is in force.
    let earlier = bridge.generation().await;
    write(&format!("{}[log]\nfilter = \"debug\"\n", with(1)));
    let output = bridge.command("reload").await.stdout;
    assert!(
        output.contains("! [log] differs: that takes effect with a restart"),
        "{output}"
    );
    assert!(output.contains("in force: exposures.edge: changed"), "{output}");

    wait::until(wait::PATIENCE, "what is in force is served", async || {
        let now = bridge.generation().await;
        wait::holds(now > earlier, || format!("{now}"))
    })
    .await;

    // A mistake: each is said, by the command and by the port, and nothing changes.
    let before = bridge.generation().await;
    write("[exposures.edge]\nhosts = [1]\nnonsense = true\n");
    let output = bridge.command("reload").await;
    assert!(
        !output.status.success() && output.stderr.contains("nonsense"),
        "{}",
        output.stderr
    );
    let head = format!(
        "POST /reload HTTP/1.1\r\nHost: {}\r\nx-xds-bridge: 1\r\nConnection: close\r\n\r\n",
        bridge.admin
    );
    let (status, answer) = raw::whole(bridge.admin, &head).await.expect("an answer");
    assert!(
        status == 422 && answer.contains("nonsense") && answer.contains("stays"),
        "{status} {answer}"
    );
    assert_eq!(bridge.generation().await, before);
    bridge.assert_no_nacks().await;
}
