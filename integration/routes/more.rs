//! Words of routes and keys of services whose requests take more than a look at the answer: times, retries, the host of a
//! server, sticky requests.

use std::collections::BTreeSet;

use super::{Echo, wrong};
use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::raw::{self, RawServer};
use crate::support::wait;

/// `PATH` at a host is answered with this.
type Wanted<'a> = (&'a str, &'a str, &'a str);

async fn answered(at: std::net::SocketAddr, wanted: &[Wanted<'_>]) {
    for (host, path, wanted) in wanted {
        let what = format!("{path} of {host} is answered with {wanted}");
        wait::until(wait::PATIENCE, &what, async || {
            wrong(at, host, &format!("GET {path}"), wanted).await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_ends_as_a_word_or_a_key_says() {
    let echo = Echo::start("echo").await;
    let words: &[_] = &[
        ("route", "host=words path=/never/a timeout=300ms"),
        ("route-2", "host=words path=/never/b stream-idle-timeout=300ms"),
        ("route-3", "host=words path=/never/c max-stream-duration=300ms"),
        (
            "route-4",
            "host=words path=/never/d per-try-timeout=300ms retry=off",
        ),
    ];
    // What a route says comes before the key.
    let keyed = |key: &'static str| [(key, "300ms"), ("route", "host=x path=/other")];
    let [timeout, idle, lasting, per_try] = [
        "timeout",
        "stream-idle-timeout",
        "max-stream-duration",
        "per-try-timeout",
    ]
    .map(keyed);
    let folder = Folder::of(&[
        ("words", echo.address, words),
        ("by-timeout", echo.address, &timeout[..1]),
        ("by-idle", echo.address, &idle[..1]),
        ("by-duration", echo.address, &lasting[..1]),
        ("by-try", echo.address, &per_try[..1]),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    answered(
        envoy.listener(),
        &[
            ("words", "/never/a", "504"),
            ("words", "/never/b", "504"),
            ("words", "/never/c", "504"),
            ("words", "/never/d", "504"),
            ("words", "/", "200"),
            ("by-timeout", "/never", "504"),
            ("by-idle", "/never", "504"),
            ("by-duration", "/never", "504"),
            ("by-try", "/never", "504"),
        ],
    )
    .await;
    bridge.assert_no_nacks().await;
}

/// The first try is never answered, the second one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_takes_too_long_is_followed_by_another_one() {
    for keys in [
        &[("route", "host=web path=/ per-try-timeout=300ms retry=5xx:1")][..],
        &[("per-try-timeout", "300ms"), ("retry", "5xx:1")],
    ] {
        let late = Echo::start("late").await;
        let folder = Folder::of(&[("web", late.address, keys)]);
        let bridge = Bridge::start(&folder.section()).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        answered(envoy.listener(), &[("web", "/", "late GET / $")]).await;
        bridge.assert_no_nacks().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_get_its_own_address_for_a_host() {
    let echo = Echo::start("echo").await;
    let keys: &[_] = &[
        ("route", "host=web path=/own host-rewrite=*"),
        ("route-2", "host=web path=/plain"),
    ];
    let folder = Folder::of(&[("web", echo.address, keys)]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let own = format!("echo GET /own {}", echo.address);
    answered(
        envoy.listener(),
        &[("web", "/own", &own), ("web", "/plain", "echo GET /plain $")],
    )
    .await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_says_what_is_upgraded_and_what_requests_stick_by() {
    let chat = RawServer::start("chat").await;
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let closed: &[_] = &[("route", "host=closed path=/ upgrade=none")];
    let open: &[_] = &[("route", "host=open path=/ upgrade=websocket")];
    let stuck: &[_] = &[
        ("lb", "ring_hash"),
        ("route", "host=stuck path=/ hash=query:user"),
    ];
    let folder = Folder::of(&[
        ("closed", chat.address, closed),
        ("open", chat.address, open),
        ("stuck", one.address, stuck),
        ("stuck", two.address, stuck),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    envoy.has_hosts("stuck", &[one.address, two.address]).await;
    answered(
        at,
        &[
            ("open", "/", "200"),
            ("closed", "/", "200"),
            ("stuck", "/", "200"),
        ],
    )
    .await;
    assert!(raw::upgrade(at, "open").await.is_ok());
    assert_eq!(raw::upgrade(at, "closed").await.map(drop), Err("403".to_owned()));
    let mut all = BTreeSet::new();
    for user in 0..20 {
        let mut of_user = BTreeSet::new();
        for _ in 0..5 {
            let (_, line) = raw::get(at, "stuck", &format!("/?user={user}"))
                .await
                .expect("an answer");
            of_user.insert(line.split(' ').next().unwrap_or_default().to_owned());
        }
        assert_eq!(of_user.len(), 1, "user {user}: {of_user:?}");
        all.extend(of_user);
    }
    // All of them on one side is chance once in 500,000 times.
    assert_eq!(all.len(), 2, "{all:?}");
    bridge.assert_no_nacks().await;
}
