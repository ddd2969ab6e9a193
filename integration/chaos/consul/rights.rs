//! Our token: revoked while reads are blocked, narrowed until nothing or next to nothing can be
//! seen, and rotated by its file. Missing rights are 200 with `[]` in Consul.

use serde_json::{Value, json};

use super::scene::Scene;
use crate::support::consul::Consul;
use crate::support::crowd::{Entry, INSTANCES};
use crate::support::wait;

const MASTER: &str = "6a2f1f9e-3f0d-4f55-8b7c-5b1e4f9a0c11";

const NODES: &str = "node_prefix \"\" { policy = \"read\" }\n";
const SERVICES: &str = "service_prefix \"\" { policy = \"read\" }\n";
const KEYS: &str = "key_prefix \"xds/\" { policy = \"read\" }\n";
/// The canary, and the services that begin with `s1`: all but a few are out of sight.
const FEW: &str = "service \"consul\" { policy = \"read\" }\nservice_prefix \"s1\" { policy = \"read\" }\n";

/// A policy that can be made narrower, and tokens for it.
struct Rights<'a> {
    consul: &'a Consul,
    policy: String,
}

impl<'a> Rights<'a> {
    async fn new(consul: &'a Consul) -> Self {
        let policy = json!({ "Name": "bridge", "Rules": NODES.to_owned() + SERVICES + KEYS });
        let made = consul.ask("PUT", "/v1/acl/policy", policy.to_string()).await;
        let policy = text(&made, "ID");
        Self { consul, policy }
    }

    /// What the token may do from now on.
    async fn are(&self, rules: &[&str]) {
        let policy = json!({ "ID": self.policy, "Name": "bridge", "Rules": rules.concat() });
        self.consul
            .put(&format!("/v1/acl/policy/{}", self.policy), &policy)
            .await;
    }

    /// A new token's id and secret.
    async fn token(&self) -> (String, String) {
        let token = json!({ "Policies": [{ "ID": self.policy }] });
        let made = self.consul.ask("PUT", "/v1/acl/token", token.to_string()).await;
        (text(&made, "AccessorID"), text(&made, "SecretID"))
    }

    async fn revoke(&self, id: &str) {
        let path = format!("/v1/acl/token/{id}");
        self.consul.ask("DELETE", &path, String::new()).await;
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().expect("a word").to_owned()
}

/// Blocked reads see what their token may see when they wake: something has to happen that means nothing.
async fn stir(consul: &Consul, scene: &Scene, tag: &str) {
    consul.enter_with(&scene.crowd.entry("s1", 1, 0), &[tag]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_narrowed_or_rotated_takes_nothing_away() {
    let consul = Consul::start_as(&json!({
        "acl": {
            "enabled": true, "default_policy": "deny", "tokens": { "master": MASTER, "agent": MASTER },
        },
        // A dead bridge's blocked reads count until their wait is over, and here some die.
        "limits": { "http_max_conns_per_client": 2000 },
    }))
    .await;
    let rights = Rights::new(&consul).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let rotate = |secret: &str| {
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, secret).expect("a file");
        std::fs::rename(&fresh, &file).expect("a file");
    };
    let (first, secret) = rights.token().await;
    rotate(&secret);
    let keys = format!("token_file = \"{}\"\nmax_removal_hold = \"1h\"\n", file.display());
    let mut scene = Scene::start(&consul, 300, &keys).await;

    // Rotated in order: the new one is in the file before the old one is revoked.
    let (second, secret) = rights.token().await;
    rotate(&secret);
    rights.revoke(&first).await;
    scene.is_back().await;

    // Revoked first.
    rights.revoke(&second).await;
    scene.is_away("403").await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    rotate(&rights.token().await.1);
    scene.is_back().await;

    // Narrowed: names without nodes; nodes without names; nothing.
    for (left, reason) in [
        ([SERVICES, KEYS], "node:read"),
        ([NODES, KEYS], "service:read"),
        (["", ""], "(also of `consul`)"),
    ] {
        rights.are(&left).await;
        stir(&consul, &scene, reason).await;
        scene.is_away(reason).await;
        scene.restart_bridge().await;
        scene.is_away("last known").await;
        rights.are(&[NODES, SERVICES, KEYS]).await;
        scene.is_back().await;
    }

    // Narrowed to a part, with all that would tell it by a canary: each service is asked for.
    rights.are(&[NODES, FEW, KEYS]).await;
    let entries: Vec<Entry> = scene.crowd.entries();
    let hidden = entries.iter().filter(|entry| !entry.service.starts_with("s1"));
    let hidden = hidden.count();
    let mut tags = 0..;
    wait::until(wait::PATIENCE, "the hidden services are named", async || {
        // Blocked reads wake with what they saw before, once more.
        stir(&consul, &scene, &format!("tag-{:?}", tags.next())).await;
        let named = scene.rejected().await;
        wait::holds(named == hidden / INSTANCES, || {
            format!("{named} of {}", hidden / INSTANCES)
        })
    })
    .await;
    scene.is_still().await;
    // Who starts now has never heard of them: its guard has.
    scene.restart_bridge().await;
    scene.withholds(hidden).await;
    rights.are(&[NODES, SERVICES, KEYS]).await;
    wait::until(wait::PATIENCE, "they are seen again", async || {
        stir(&consul, &scene, &format!("tag-{:?}", tags.next())).await;
        let held = scene.withheld().await;
        wait::holds(held == 0, || format!("{held} withheld"))
    })
    .await;
    scene.is_still().await;
    scene.still_follows(&consul).await;
}
