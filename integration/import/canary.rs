//! Traefik's canaries: instances that get what their own routers bring, and no other request.

use std::collections::BTreeSet;

use serde_json::json;

use super::servers::Servers;
use super::{Scene, ask};
use crate::support::consul::Consul;
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_what_its_own_routers_bring() {
    let (consul, servers) = (Consul::start().await, Servers::start().await);
    let settings = "import = [\"traefik\"]\n[sources.registry.traefik]\nentry_points = { web = \"edge\" }\n";
    let scene = Scene::start(&consul, settings).await;
    let register = async |id: &str, label: &str, tags: &[&str]| {
        let check = json!({ "CheckID": id, "TTL": "1h", "Status": "passing" });
        let entry = json!({
            "Name": "web", "ID": id, "Address": "127.0.0.1", "Port": servers.port(label), "Tags": tags,
            "Checks": [check],
        });
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        consul.put(path, &entry).await;
    };
    // An agent keeps what a check said when it is registered again.
    let check = async |word: &str, id: &str| {
        consul
            .put(&format!("/v1/agent/check/{word}/{id}"), &json!(null))
            .await;
    };
    let answers = async |what: &str, wanted: &[(&str, &str)]| {
        wait::until(wait::PATIENCE, what, async || {
            for (header, wanted) in wanted {
                let (name, value) = header.split_once(':').unwrap_or(("x-none", "1"));
                let headers = json!([[name, value]]);
                let request =
                    json!({ "method": "GET", "host": "a.example.com", "path": "/", "headers": headers });
                // Nothing is shared by chance.
                for _ in 0..10 {
                    let answer = ask(scene.edge, &request, None).await?;
                    let label = answer.seen["label"].as_str().map(str::to_owned);
                    let got = label.unwrap_or_else(|| answer.status.to_string());
                    wait::holds(got == *wanted, || format!("{header}: {got}, not {wanted}"))?;
                }
            }
            Ok(())
        })
        .await;
    };
    let canary = "traefik.consulcatalog.canary=true";
    let of_all = "traefik.http.routers.web.rule=Host(`a.example.com`)";
    let tried = "traefik.http.routers.try.rule=Host(`a.example.com`) && Header(`x-try`, `1`)";
    register("one", "p1", &[of_all]).await;
    answers("the others", &[("", "p1"), ("x-try:1", "p1")]).await;
    register("two", "p2", &[tried, canary]).await;
    answers("what its router brings", &[("x-try:1", "p2"), ("", "p1")]).await;
    // Each set of tags is one of its own. Of equal rules that of the others counts, and Consul's name for it is said.
    register("three", "p3", &[of_all, canary]).await;
    let reported = async |what: &str| {
        wait::until(wait::PATIENCE, what, async || {
            let sources = scene.bridge.text("/readyz").await?;
            let log = scene.bridge.log();
            wait::holds(sources.contains(what) || log.contains(what), || sources)
        })
        .await;
    };
    reported("is declared for the version `canary-").await;
    answers("no share for anybody", &[("x-try:1", "p2"), ("", "p1")]).await;
    let dump = scene.bridge.text("/config_dump?type=cds").await.expect("a dump");
    let versions: BTreeSet<&str> = dump
        .split("web@")
        .skip(1)
        .filter_map(|rest| rest.get(..13))
        .collect();
    let canaries: Vec<&&str> = versions
        .iter()
        .filter(|name| name.starts_with("canary-"))
        .collect();
    assert_eq!(canaries.len(), 2, "{versions:?}");
    for version in canaries {
        let header = format!("x-version:{version}");
        answers("no header brings anybody there", &[(&header, "p1")]).await;
    }
    // One that fails keeps its routes, as each service here.
    check("fail", "two").await;
    answers("it fails", &[("x-try:1", "503"), ("", "p1")]).await;
    check("pass", "two").await;
    answers("it is back", &[("x-try:1", "p2"), ("", "p1")]).await;
    // Nobody else gets what the others cannot take.
    check("fail", "one").await;
    answers("the others fail", &[("x-try:1", "p2"), ("", "503")]).await;
    check("pass", "one").await;
    for id in ["two", "three"] {
        let path = format!("/v1/agent/service/deregister/{id}");
        consul.put(&path, &json!(null)).await;
    }
    answers(
        "its requests are those of the others",
        &[("x-try:1", "p1"), ("", "p1")],
    )
    .await;
    scene.bridge.assert_no_nacks().await;
}
