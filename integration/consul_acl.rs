//! The Consul source and the rights of its token, with a real server: whatever is wrong with them takes
//! nothing away, is told, and is over by itself.

use std::path::PathBuf;

use serde_json::json;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;

use crate::support::agent::{Agent, MASTER, Watched};

const ALL: &str = "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";

async fn agent() -> Agent {
    let agent = Agent::start(|_, _| {
        json!({ "acl": { "enabled": true, "default_policy": "deny",
            "tokens": { "master": MASTER, "agent": MASTER } } })
    })
    .await;
    agent.enter("orders", 1, json!({})).await;
    agent.enter("orders", 2, json!({})).await;
    agent.enter("users", 3, json!({})).await;
    agent
}

/// A token whose rights can be changed, and a file with it.
struct Key<'a> {
    agent: &'a Agent,
    policy: String,
    secret: String,
    accessor: String,
    file: PathBuf,
}

impl<'a> Key<'a> {
    async fn new(agent: &'a Agent, name: &str, rules: &str) -> Self {
        let policy = json!({ "Name": name, "Rules": rules });
        let policy = agent.send("PUT", "/v1/acl/policy", &policy).await;
        let text = |value: &serde_json::Value, key: &str| value[key].as_str().expect("a text").to_owned();
        let policy = text(&policy, "ID");
        let token = json!({ "Policies": [{ "ID": policy }] });
        let token = agent.send("PUT", "/v1/acl/token", &token).await;
        let key = Self {
            agent,
            policy,
            secret: text(&token, "SecretID"),
            accessor: text(&token, "AccessorID"),
            file: agent.dir.path().join(name),
        };
        key.write_to(&key.file);
        key
    }

    fn write_to(&self, file: &PathBuf) {
        std::fs::write(file, format!("{}\n", self.secret)).expect("a token file");
    }

    async fn may(&self, name: &str, rules: &str) {
        let policy = json!({ "ID": self.policy, "Name": name, "Rules": rules });
        let path = format!("/v1/acl/policy/{}", self.policy);
        self.agent.send("PUT", &path, &policy).await;
    }

    async fn revoke(&self) {
        let path = format!("/v1/acl/token/{}", self.accessor);
        self.agent.send("DELETE", &path, &json!({})).await;
    }

    fn watch(&self) -> Watched {
        Watched::start(&ConsulSource {
            token_file: Some(self.file.clone()),
            ..ConsulSource::new(self.agent.address())
        })
    }
}

/// The token is in no message.
fn silent(watched: &Watched, keys: &[&Key<'_>]) {
    let said = format!("{:?} {:?}", watched.statuses, watched.issues());
    assert!(keys.iter().all(|key| !said.contains(&key.secret)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_will_not_do_is_told_and_the_right_one_found() {
    let agent = agent().await;
    let key = Key::new(&agent, "all", ALL).await;
    let file = agent.dir.path().join("token");
    let mut watched = Watched::start(&ConsulSource {
        token_file: Some(file.clone()),
        ..ConsulSource::new(agent.address())
    });
    watched.until_away("the token file").await;
    std::fs::write(&file, "00000000-0000-0000-0000-00000000dead").expect("a token file");
    watched.until_away("ACL not found").await;
    let blind = Key::new(&agent, "blind", "service_prefix \"\" { policy = \"read\" }").await;
    blind.write_to(&file);
    watched.until_away("node:read").await;
    let deaf = Key::new(&agent, "deaf", "node_prefix \"\" { policy = \"read\" }").await;
    deaf.write_to(&file);
    watched.until_away("service:read").await;
    key.write_to(&file);
    watched.until_live().await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:1", "10.9.0.1:2"]);
    silent(&watched, &[&key, &blind, &deaf]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_narrowed_takes_nothing_away() {
    let agent = agent().await;
    let key = Key::new(&agent, "key", ALL).await;
    let mut watched = key.watch();
    watched.until_live().await;

    // Everything: Consul answers 200 with nothing.
    key.may("key", "key_prefix \"xds/\" { policy = \"read\" }").await;
    agent.enter("orders", 4, json!({})).await; // wakes the watches
    watched.until_away("service:read").await;
    key.may("key", ALL).await;
    watched.until_live().await;
    watched
        .until_served("orders", &["10.9.0.1:1", "10.9.0.1:2", "10.9.0.1:4"])
        .await;

    // One service, while all else stays readable: it looks deregistered.
    key.may(
        "key",
        &format!("{ALL} service \"orders\" {{ policy = \"deny\" }}"),
    )
    .await;
    agent.enter("orders", 5, json!({})).await;
    watched
        .until("an issue", |w| {
            w.issues().iter().any(|i| i.contains("service:read of orders"))
        })
        .await;
    agent.enter("users", 6, json!({})).await;
    watched.until_served("users", &["10.9.0.1:3", "10.9.0.1:6"]).await;
    key.may("key", ALL).await;
    watched
        .until_served(
            "orders",
            &["10.9.0.1:1", "10.9.0.1:2", "10.9.0.1:4", "10.9.0.1:5"],
        )
        .await;

    // One node; what is on the others goes on.
    key.may("key", &format!("{ALL} node \"n2\" {{ policy = \"deny\" }}"))
        .await;
    agent.enter("orders", 7, json!({})).await;
    watched
        .until("an issue", |w| {
            w.issues().iter().any(|i| i.contains("node:read of n2"))
        })
        .await;
    watched
        .until_served(
            "orders",
            &[
                "10.9.0.1:1",
                "10.9.0.1:2",
                "10.9.0.1:4",
                "10.9.0.1:5",
                "10.9.0.1:7",
            ],
        )
        .await;
    key.may("key", ALL).await;
    watched
        .until("5 instances", |w| w.addresses("orders").len() == 5)
        .await;
    watched.until("no issue", |w| w.issues().is_empty()).await;
    assert_eq!(watched.lost, [""; 0]);

    // What is really gone is believed, under the same token.
    agent.leave("orders", 7).await;
    watched
        .until("4 instances", |w| w.addresses("orders").len() == 4)
        .await;
    agent.leave("users", 3).await;
    agent.leave("users", 6).await;
    watched.until_served("users", &[]).await;
    silent(&watched, &[&key]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_or_rotated_takes_nothing_away() {
    let agent = agent().await;
    let few = Key::new(
        &agent,
        "few",
        "service \"consul\" { policy = \"read\" } service \"orders\" { policy = \"read\" } \
         node_prefix \"\" { policy = \"read\" }",
    )
    .await;
    let all = Key::new(&agent, "all", ALL).await;
    let mut watched = few.watch();
    watched.until_live().await;
    assert!(watched.addresses("users").is_empty());

    // Rotated while both are good: what only the new one sees is there without any other change.
    all.write_to(&few.file);
    watched.until_served("users", &["10.9.0.1:3"]).await;
    // Reads that are blocked were sent with the old one: that it is revoked is nobody's trouble.
    few.revoke().await;
    agent.enter("orders", 4, json!({})).await;
    watched
        .until_served("orders", &["10.9.0.1:1", "10.9.0.1:2", "10.9.0.1:4"])
        .await;
    assert_eq!(watched.statuses, [Status::Live]);

    // Revoked while reads are blocked, and nothing to take its place.
    all.revoke().await;
    agent.enter("orders", 5, json!({})).await;
    watched.until_away("ACL not found").await;
    let next = Key::new(&agent, "next", ALL).await;
    next.write_to(&few.file);
    watched.until_live().await;
    watched
        .until("4 instances", |w| w.addresses("orders").len() == 4)
        .await;
    assert_eq!(watched.lost, [""; 0]);
    silent(&watched, &[&few, &all, &next]);
}

/// All of a service, at once, while nothing else moves: nobody is woken when the right comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_comes_back_by_itself_and_keeps_its_policy() {
    const KEYS: &str = "key_prefix \"xds/\" { policy = \"read\" }";
    let agent = agent().await;
    for service in ["orders", "users"] {
        let path = format!("/v1/kv/xds/{service}/policy");
        agent.send("PUT", &path, &json!({ "protocol": "grpc" })).await;
    }
    let key = Key::new(&agent, "key", &format!("{ALL} {KEYS}")).await;
    let mut watched = key.watch();
    watched.until_live().await;
    let denied = "service \"orders\" { policy = \"deny\" } key \"xds/orders/policy\" { policy = \"deny\" }";
    key.may("key", &format!("{ALL} {KEYS} {denied}")).await;
    agent.enter("orders", 4, json!({})).await;
    agent
        .send("PUT", "/v1/kv/xds/users/policy", &json!({ "protocol": "http2" }))
        .await;
    watched
        .until("both are named", |w| {
            let all = w.issues();
            let named = |word: &str| all.iter().any(|i| i.contains(word));
            named("service:read of orders") && named("xds/orders/policy")
        })
        .await;
    watched
        .until("the other policy", |w| w.protocol("users") == "http2")
        .await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:1", "10.9.0.1:2"]);
    assert_eq!(watched.protocol("orders"), "grpc");
    key.may("key", &format!("{ALL} {KEYS}")).await;
    watched
        .until_served("orders", &["10.9.0.1:1", "10.9.0.1:2", "10.9.0.1:4"])
        .await;
    watched.until("no issue", |w| w.issues().is_empty()).await;
    assert_eq!(watched.protocol("orders"), "grpc");
    assert_eq!(
        (&watched.statuses[..], watched.lost.len()),
        (&[Status::Live][..], 0)
    );
    silent(&watched, &[&key]);
}
