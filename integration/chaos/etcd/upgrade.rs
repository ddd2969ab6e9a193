//! The cluster is upgraded in place, one member after the other, from version to version, under load.
//!
//! Wants several versions of etcd, and fails when they are missing: it runs only when it is asked for.

use std::path::PathBuf;

use super::cluster::{Cluster, MEMBERS};
use super::scene::Scene;
use crate::support::etcd::connect;
use xds_bridge::clock;

/// Programs from the oldest version to the newest, with `:` between them.
const VERSIONS: &str = "ETCD_UPGRADE_BINS";

/// A member that starts reads its log since its last snapshot. etcd 3.7 panics over what 3.5 wrote there; with the
/// default a quiet cluster has no snapshot for months.
const SNAPSHOTS: &str = "--snapshot-count=50";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants ETCD_UPGRADE_BINS=OLDEST:...:NEWEST, programs of etcd of successive minor versions"]
async fn each_member_is_upgraded_from_version_to_version() {
    let versions = versions();
    let cluster = Cluster::start_as(&versions[0], &[SNAPSHOTS]).await;
    let mut scene = Scene::start(cluster).await;
    let mut nth = 0;
    for binary in &versions[1..] {
        let version = version(binary);
        for member in 0..MEMBERS {
            let watched = scene.watched() == Some(member);
            nth += 1;
            let id = format!("news-{nth}");
            let begun = clock::now();
            scene.cluster.ask_to_stop(member);
            // While it ends, while it is away, and when it is back.
            scene.registers(&id).await;
            scene.news_are(&["news-0", &id]).await;
            let seen = clock::now().duration_since(begun);
            scene.cluster.ended(member).await;
            let ended = clock::now().duration_since(begun);
            scene.cluster.upgrade(member, binary);
            let more = format!("more-{nth}");
            let begun = clock::now();
            scene.registers(&more).await;
            scene.news_are(&["news-0", &id, &more]).await;
            let away = clock::now().duration_since(begun);
            scene.cluster.restart(&[member]).await;
            let begun = clock::now();
            scene.deregisters(&id).await;
            scene.deregisters(&more).await;
            scene.news_are(&["news-0"]).await;
            let back = clock::now().duration_since(begun);
            scene.goes_on().await;
            eprintln!(
                "{version}, member {member}{}: registered within {seen:?} of SIGTERM, ended after {ended:?}, \
                 registered within {away:?}, back and deregistered within {back:?}",
                if watched { ", which is watched" } else { "" }
            );
        }
        // Only then the next version may begin.
        scene.cluster.agrees_on(&cluster_version(&version)).await;
        run_for_a_while(&scene).await;
        scene.bridge_dies().await;
        scene.source_is(true).await;
    }
    scene.finish(&["news-0"]).await;
}

/// Each member writes a snapshot of what only this version may have written.
async fn run_for_a_while(scene: &Scene) {
    for member in 0..MEMBERS {
        let mut etcd = connect(scene.cluster.url(member)).await.expect("a client");
        for _ in 0..100 {
            etcd.put("elsewhere", "something", None).await.expect("a write");
        }
    }
}

fn versions() -> Vec<PathBuf> {
    let wanted = format!("set {VERSIONS}=OLDEST:...:NEWEST to at least two programs of etcd");
    let value = std::env::var(VERSIONS).expect(&wanted);
    let programs: Vec<PathBuf> = value.split(':').map(PathBuf::from).collect();
    assert!(programs.len() >= 2, "{wanted}, not {value}");
    for program in &programs {
        assert!(program.is_file(), "{} is not there: {wanted}", program.display());
    }
    programs
}

/// `3.6.16`
fn version(binary: &std::path::Path) -> String {
    let output = std::process::Command::new(binary).arg("--version").output();
    let output = output.expect("running etcd --version").stdout;
    let text = String::from_utf8_lossy(&output).into_owned();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("etcd Version: ").to_owned()
}

/// What the cluster calls itself when all members have that version: `3.6.0`.
fn cluster_version(version: &str) -> String {
    let minor = version.rsplit_once('.').expect("three numbers").0;
    format!("{minor}.0")
}
