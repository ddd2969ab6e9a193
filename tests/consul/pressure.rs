//! The Consul source and an agent that has not enough room, is away, or wakes everybody all the time:
//! what is asked for, how often, and that nothing of it looks like an outage.

use std::time::Duration;

use xds_bridge::config::ConsulSource;
use xds_bridge::model::{Measured, Status};
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Ask, Fake, Hub, Reply, TOO_MANY_CONNECTIONS, Welcome, health, say, timing};
use crate::settle;

pub async fn services(count: usize) -> (std::sync::Arc<Fake>, String, Vec<String>) {
    let (fake, address) = Fake::start().await;
    let names: Vec<String> = (0..count).map(|n| format!("s{n:04}")).collect();
    for name in &names {
        fake.set(name, &[1, 2]);
    }
    (fake, address, names)
}

pub fn swept(hub: &Hub) -> usize {
    let last = hub.measured.iter().rev().find_map(|m| match m {
        Measured::Swept(n) => Some(*n),
        Measured::Missed(_) | Measured::Cut(_) => None,
    });
    last.unwrap_or(0)
}

pub fn missed(hub: &Hub) -> u64 {
    let all = hub.measured.iter().map(|m| match m {
        Measured::Missed(n) => *n,
        Measured::Swept(_) | Measured::Cut(_) => 0,
    });
    all.sum()
}

async fn without_room(others: Welcome) {
    let (fake, address, names) = services(100).await;
    // Other programs on this host hold the rest.
    fake.door.room(60, others);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.until("a part of them is swept", |hub| swept(hub) >= 40).await;
    assert!(
        hub.note
            .as_deref()
            .is_some_and(|n| n.contains("turned requests away") && n.contains("https"))
    );
    for port in 3..6 {
        for name in &names {
            fake.set(name, &[port]);
        }
        hub.until("all changed", |hub| {
            names.iter().all(|n| hub.ports(n) == Some(vec![port]))
        })
        .await;
    }
    fake.set(&names[0], &[]);
    fake.set(&names[99], &[]);
    hub.until("two gone", |hub| {
        hub.ports(&names[0]).is_none() && hub.ports(&names[99]).is_none()
    })
    .await;
    assert!(fake.door.refused() > 0);
    assert_eq!(hub.statuses, [Status::Live], "no outage");
    assert_eq!(missed(&hub), 0);
}

#[tokio::test]
async fn connections_closed_without_a_byte_are_no_outage() {
    without_room(Welcome::Close).await;
}

#[tokio::test]
async fn connections_answered_with_429_are_no_outage() {
    without_room(Welcome::Busy).await;
}

#[tokio::test]
async fn a_429_to_a_watch_moves_it_to_the_sweep() {
    let (fake, address, names) = services(5).await;
    fake.script(|ask| match ask.index {
        Some(_) if ask.path.ends_with("/s0003") => say(429, 1, TOO_MANY_CONNECTIONS),
        _ => None,
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.until("swept", |hub| swept(hub) == 1).await;
    for port in 3..6 {
        fake.set(&names[3], &[port]);
        hub.until_ports(&names[3], &[port]).await;
    }
    assert_eq!(hub.statuses, [Status::Live]);
    let log = fake.count(|ask| ask.path.ends_with("/s0003") && ask.index.is_none());
    assert!(log > 0, "it is read in turns");
}

#[tokio::test]
async fn room_that_is_there_again_is_used_again() {
    let (fake, address, _) = services(100).await;
    fake.door.room(60, Welcome::Close);
    let timing = Timing {
        grow: Duration::from_millis(200),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    hub.until("a part of them is swept", |hub| swept(hub) >= 40).await;
    fake.door.room(usize::MAX, Welcome::Close);
    hub.until("all are watched", |hub| swept(hub) == 0 && hub.note.is_none())
        .await;
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn when_all_connections_end_it_is_an_outage() {
    let (fake, address, _) = services(20).await;
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    fake.door.welcome(Welcome::Close);
    fake.door.hang_up();
    hub.until_away("").await;
    fake.door.welcome(Welcome::Serve);
    hub.until_live().await;
    fake.door.kill();
    hub.until_away("").await;
    fake.door.revive();
    hub.until_live().await;
    assert_eq!((swept(&hub), &hub.note), (0, &None));
    settle(&fake, &mut hub).await;
}

#[tokio::test]
async fn one_connection_that_is_cut_is_no_outage() {
    let (fake, address, names) = services(20).await;
    let timing = Timing {
        settle: Duration::from_millis(1),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    hub.until_quiet(&fake, 20).await;
    fake.forget();
    fake.script(|ask| {
        let cut = ask.path.ends_with("/s0007") && ask.index.is_some();
        cut.then_some(Reply::Drop(h2::Reason::INTERNAL_ERROR))
    });
    fake.until_seen(|ask| ask.path.ends_with("/s0007") && ask.consistent)
        .await;
    fake.script(|_| None);
    fake.set(&names[7], &[5]);
    hub.until_ports(&names[7], &[5]).await;
    assert_eq!(hub.statuses, [Status::Live]);
    assert!(
        !fake.seen(|ask| ask.path.ends_with("/s0001")),
        "nobody else asks again"
    );
}

#[tokio::test]
async fn nothing_moves_and_nothing_is_swept() {
    let (fake, address, names) = services(170).await;
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.until("swept", |hub| swept(hub) == 20).await;
    hub.until("the mode", |hub| {
        hub.note
            .as_deref()
            .is_some_and(|n| n.contains("max_watches = 150"))
    })
    .await;
    hub.until_quiet(&fake, 154).await;
    let probed = |fake: &Fake| fake.count(|ask| ask.probe && ask.path.contains("/v1/health/service/"));
    // What moved while it started is swept once more, a moment later on a busy machine.
    let swept_once_more = async {
        loop {
            fake.forget();
            tokio::time::sleep(timing().sweep * 15).await;
            if probed(&fake) == 0 {
                break;
            }
        }
    };
    let quiet = tokio::time::timeout(Duration::from_secs(60), swept_once_more).await;
    quiet.expect("it sweeps though nothing moves");
    fake.forget();
    // Longer than many sweeps would take.
    for n in 0..20 {
        let protocol = if n % 2 == 0 { "grpc" } else { "http2" };
        fake.set_key(
            "xds/s0000/policy",
            Some(&format!(r#"{{"protocol":"{protocol}"}}"#)),
        );
        hub.until(protocol, |hub| {
            let service = hub.catalog().service(&"s0000".into()).unwrap();
            service.protocol().as_str() == protocol
        })
        .await;
    }
    assert_eq!(probed(&fake), 0);
    // A detector tells of each change; a probe of which service it was.
    fake.set(&names[160], &[7]);
    hub.until_ports(&names[160], &[7]).await;
    assert!(probed(&fake) > 0);
    let swept = |ask: &Ask| ask.path.contains("/v1/health/service/s01") && ask.index.is_none() && !ask.probe;
    let whole: Vec<Ask> = fake.asked(swept);
    assert!(whole.iter().all(|ask| ask.path.ends_with("/s0160")), "{whole:?}");
}

#[tokio::test]
async fn a_detector_that_fails_lets_sweeps_go_on() {
    let (fake, address, names) = services(170).await;
    fake.script(|ask| {
        let detector = ask.path == "/v1/health/state/any" || ask.path == "/v1/catalog/nodes";
        (detector && ask.index.is_some())
            .then(|| say(403, 1, "Permission denied"))
            .flatten()
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    // Nothing moves the index of the names.
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        ("/v1/health/state/any" | "/v1/catalog/nodes", Some(_)) => say(429, 1, "busy"),
        ("/v1/health/service/s0165", None) => say(200, 5000, &health("s0165", &[1, 2, 3])),
        _ => None,
    });
    hub.until_ports(&names[165], &[1, 2, 3]).await;
    assert_eq!(hub.statuses.last(), Some(&Status::Live));
}

#[tokio::test]
async fn the_audit_finds_what_a_watch_has_missed() {
    let (fake, address, names) = services(3).await;
    let timing = Timing {
        audit_pace: (Duration::from_millis(2), Duration::from_millis(2)),
        grace: Duration::from_millis(50),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    // No watch of this one ever wakes.
    fake.script(|ask| match ask.index {
        Some(_) if ask.path.ends_with("/s0001") => Some(Reply::Hang),
        _ => None,
    });
    fake.set(&names[1], &[1, 2, 3]);
    fake.set(&names[2], &[9]);
    hub.until_ports(&names[1], &[1, 2, 3]).await;
    hub.until_ports(&names[2], &[9]).await;
    hub.until("counted", |hub| missed(hub) > 0).await;
    assert_eq!(missed(&hub), 1, "the other one was in time");
    fake.set(&names[1], &[1]);
    hub.until_ports(&names[1], &[1]).await;
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn the_audit_finds_a_registry_that_was_restored() {
    let (fake, address, names) = services(3).await;
    let timing = Timing {
        audit_pace: (Duration::from_millis(2), Duration::from_millis(2)),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    // An index that is higher than all that will be: the blocking reads would wait for ever.
    fake.script(|ask| match ask.index {
        Some(_) if ask.path.contains("/v1/health/service/s") => Some(Reply::Hang),
        None if ask.path.ends_with("/s0001") => say(200, 50, &health("s0001", &[4])),
        _ => None,
    });
    hub.until_away("the index of s0001 fell").await;
    hub.until_ports(&names[1], &[4]).await;
    assert_eq!(hub.ports(&names[2]), Some(vec![1, 2]));
}

#[tokio::test]
async fn an_agent_that_is_away_is_asked_seldom_and_each_service_once_when_it_is_back() {
    let (fake, address, names) = services(2000).await;
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.until_quiet(&fake, 154).await;
    fake.forget();
    fake.script(|_| say(500, 1, "No cluster leader"));
    hub.until_away("No cluster leader").await;
    let before = fake.count(|_| true);
    fake.until_seen_times(100, |ask| ask.path == "/v1/catalog/services")
        .await;
    let gate =
        fake.count(|ask| ask.path == "/v1/catalog/services" || ask.path == "/v1/health/service/consul");
    let during = fake.count(|_| true) - before;
    // And what was being read when it went away.
    assert!(during <= gate + 32, "{during} requests, of the gate {gate}");
    fake.forget();
    fake.slow();
    fake.script(|_| None);
    hub.until_live().await;
    for name in &names {
        let path = format!("/v1/health/service/{name}");
        let asked = fake.count(|ask| ask.path == path && ask.index.is_none());
        assert_eq!(asked, 1, "{name} is confirmed once");
    }
    assert!(fake.most_reads() <= 32, "{} at once", fake.most_reads());
    assert_eq!(hub.named().len(), 2000, "only the first change");
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long the fake was asked: more time allows more"
)]
async fn wake_ups_that_bring_nothing_are_no_change_and_no_busy_loop() {
    let (fake, address, _) = services(3).await;
    let timing = Timing {
        pace: Duration::from_millis(100),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    hub.forget();
    fake.forget();
    // Each read returns at once: with a higher index and the same content, or with the same index.
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        ("/v1/health/service/s0001", Some(index)) => say(200, index + 1, &health("s0001", &[1, 2])),
        ("/v1/health/service/s0002", Some(index)) => say(200, index, &health("s0002", &[])),
        _ => None,
    });
    let began = tokio::time::Instant::now();
    fake.until_seen_times(5, |ask| ask.path.ends_with("/s0001") && ask.index.is_some())
        .await;
    fake.until_seen_times(5, |ask| ask.path.ends_with("/s0002") && ask.index.is_some())
        .await;
    let most = 2 * (2 + began.elapsed().as_millis() / 100);
    let asked = fake.count(|ask| ask.path.ends_with("/s0001") || ask.path.ends_with("/s0002"));
    assert!(asked as u128 <= most, "{asked} reads, paced {most}");
    assert_eq!(hub.named(), []);
    settle(&fake, &mut hub).await;
    assert_eq!(hub.named(), [("sentinel".into(), Some(1))]);
    assert_eq!(hub.statuses, []);
}

/// With ten changes of weights a second, the names of 2,000 services were half of what Consul sent us.
#[tokio::test]
async fn names_that_only_repeat_are_asked_for_ever_less_often() {
    let (fake, address, _) = services(3).await;
    let timing = Timing {
        pace: Duration::from_millis(50),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    hub.forget();
    fake.forget();
    let names = r#"{"consul":[],"s0000":[],"s0001":[],"s0002":[]}"#;
    // Both return at once, and bring nothing.
    fake.script(move |ask| match (ask.path.as_str(), ask.index) {
        ("/v1/catalog/services", Some(index)) => say(200, index + 1, names),
        ("/v1/health/service/s0001", Some(index)) => say(200, index + 1, &health("s0001", &[1, 2])),
        _ => None,
    });
    let of_names = |ask: &Ask| ask.path == "/v1/catalog/services" && ask.index.is_some();
    fake.until_seen_times(9, of_names).await;
    // 1 + 2 + … + 7 paces have passed; the service is read each pace.
    let (names, service) = (
        fake.count(of_names),
        fake.count(|ask| ask.path.ends_with("/s0001")),
    );
    assert!(service > names, "{service} and {names} reads");
    fake.script(|_| None);
    fake.jump(10_000);
    settle(&fake, &mut hub).await;
    assert_eq!(hub.statuses, []);
}
