//! Who is meant by a command: one address under two names, an address in another dress, a node that is drained.

use super::{etcd_and_bridge, put, servers};
use crate::support::bridge::Step;
use crate::support::etcd::{facts, instance_key};
use crate::support::wait;
use crate::versions::Requests;

/// Whoever is stopped is stopped under each of its names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_with_two_names_is_safe_to_stop_once_it_drains_under_both() {
    let (etcd, bridge) = etcd_and_bridge("").await;
    let (a, b) = servers(&etcd, [&[], &[]]).await;
    for (id, server) in [("x", &a), ("y", &b)] {
        etcd.put(&instance_key("stock", id), facts(server, &[]).to_string())
            .await;
    }
    let answer = bridge.command("drain orders/a --wait --timeout 2s").await;
    assert_eq!(
        answer.status.code(),
        Some(3),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
    let words = "stock/x: it listens at the same address: it is healthy, not draining";
    assert!(answer.stderr.contains(words), "{}", answer.stderr);
    let answer = bridge.command("drain stock/x --wait").await;
    assert!(answer.status.success(), "{}{}", answer.stdout, answer.stderr);
    for name in [
        "stock/x: safe to stop at ",
        "orders/a: it listens at the same address: safe",
    ] {
        assert!(answer.stdout.contains(name), "{}", answer.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_the_same_however_it_is_written() {
    let (etcd, bridge) = etcd_and_bridge("").await;
    let (a, _b) = servers(&etcd, [&[], &[]]).await;
    let mapped = format!("[::ffff:{}]:{}", a.address.ip(), a.address.port());
    for address in [a.address.to_string(), mapped] {
        let command = format!("wait --drained orders/gone --address {address} --timeout 1s");
        let answer = bridge.command(&command).await;
        assert_eq!(
            answer.status.code(),
            Some(1),
            "{}{}",
            answer.stdout,
            answer.stderr
        );
        assert!(
            answer.stderr.contains("`orders/a` is, which takes requests"),
            "{}",
            answer.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_drains_a_node_is_named_and_ends_by_its_own_name() {
    let (etcd, bridge) = etcd_and_bridge("").await;
    let _servers = servers(&etcd, [&[("zone", "z1")], &[("zone", "z2")]]).await;
    let answer = bridge.command("drain --zone z1").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    let answer = bridge.command("wait --serving orders/a --timeout 300ms").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stderr);
    let words = "its zone is drained by command, which `undrain --zone z1` ends";
    assert!(answer.stderr.contains(words), "{}", answer.stderr);
    let answer = bridge.command("undrain orders/a").await;
    assert_eq!(answer.status.code(), Some(1), "{}", answer.stdout);
    let words = "orders/a stays drained: `undrain --zone z1` ends that";
    assert!(answer.stderr.contains(words), "{}", answer.stderr);
    for (command, words) in [
        ("undrain --zone z3", "the zone `z3` is not drained"),
        ("undrain --node web-9", "the node `web-9` is not drained"),
    ] {
        let answer = bridge.command(command).await;
        assert_eq!(answer.status.code(), Some(1), "{}", answer.stdout);
        assert!(answer.stderr.contains(words), "{}", answer.stderr);
    }
    let answer = bridge.command("undrain --zone z1").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    let answer = bridge.command("wait --serving orders/a").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    // Nothing is over that was not.
    let answer = bridge.command("undrain orders/a").await;
    assert!(
        answer.status.success() && answer.stdout.contains("\"undrained\": []"),
        "{}",
        answer.stdout
    );
}

/// Who asks for a version by the header does not reach the server of it that drains either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_drains_gets_nothing_also_by_its_header() {
    let (etcd, bridge) = etcd_and_bridge("").await;
    let (a, b) = servers(
        &etcd,
        [&[("version", "1")], &[("version", "2"), ("share", "30%")]],
    )
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let requests = Requests::by(&envoy);
    let answer = async |version: &str, wanted: &str| {
        let what = format!("version {version} is answered by {wanted} alone");
        wait::until(wait::PATIENCE, &what, async || {
            let seen = requests.count(30, &[("x-version", version)]).await;
            wait::holds(seen.len() == 1 && seen.contains_key(wanted), || {
                format!("{seen:?}")
            })
        })
        .await;
    };
    answer("1", "a").await;
    answer("2", "b").await;
    let drained = bridge.command("drain orders/a --wait").await;
    assert!(drained.status.success(), "{}{}", drained.stdout, drained.stderr);
    let before = a.requests();
    answer("1", "b").await;
    answer("2", "b").await;
    assert_eq!(a.requests(), before, "it is safe to stop");
    // It comes back, and the other one drains by its registry.
    assert!(bridge.command("undrain orders/a").await.status.success());
    answer("1", "a").await;
    put(
        &etcd,
        &b,
        &[("version", "2"), ("share", "30%"), ("state", "drain")],
    )
    .await;
    let drained = bridge.command("wait --drained orders/b").await;
    assert!(drained.status.success(), "{}{}", drained.stdout, drained.stderr);
    let before = b.requests();
    answer("2", "a").await;
    assert_eq!(b.requests(), before);
    bridge.assert_no_nacks().await;
}
