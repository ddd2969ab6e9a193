//! Without the rights: what is missing is named as it must be written, and reading goes on where it may.

use std::path::PathBuf;

use etcd_client::Permission;
use serde_json::json;
use xds_bridge::config::{ConsulSource, EtcdLogin, EtcdSource, SourceConfig};
use xds_bridge::registry::store::{If, Store, StoreError};
use xds_bridge::source::{self, Budget};

use super::scene::{ROOT, TTL, Watched};
use crate::support::agent::{Agent, MASTER};
use crate::support::etcd::Etcd;
use crate::support::wait;

fn store(config: &SourceConfig) -> Store {
    source::store(config, ROOT, &Budget::default()).unwrap()
}

fn denied<T: std::fmt::Debug>(result: Result<T, StoreError>, missing: &str) {
    match result {
        Err(StoreError::Denied { grant, .. }) => assert_eq!(grant, missing),
        other => panic!("{other:?}"),
    }
}

/// A token with these rules, in a file.
async fn token(agent: &Agent, name: &str, rules: &str) -> PathBuf {
    let policy = json!({ "Name": name, "Rules": rules });
    let policy = agent.send("PUT", "/v1/acl/policy", &policy).await;
    let token = json!({ "Policies": [{ "ID": policy["ID"] }] });
    let token = agent.send("PUT", "/v1/acl/token", &token).await;
    let file = agent.dir.path().join(name);
    std::fs::write(&file, token["SecretID"].as_str().unwrap()).unwrap();
    file
}

fn by(agent: &Agent, file: PathBuf) -> Store {
    store(&SourceConfig::Consul(Box::new(ConsulSource {
        token_file: Some(file),
        ..ConsulSource::new(agent.address())
    })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_names_what_the_token_lacks() {
    const KEYS: &str = "key_prefix \"xds-bridge/\" { policy = \"write\" }";
    const SESSIONS: &str = "session_prefix \"\" { policy = \"write\" }";
    let agent = Agent::start(|_, _| {
        json!({ "acl": { "enabled": true, "default_policy": "deny",
            "tokens": { "master": MASTER, "agent": MASTER } } })
    })
    .await;
    let all = by(&agent, token(&agent, "all", &format!("{KEYS} {SESSIONS}")).await);
    all.put("a", b"1", If::Absent).await.unwrap();
    let hold = all.hold("replicas/a", b"", TTL).await.unwrap();
    hold.put("answers/1", b"").await.unwrap();
    hold.release().await.unwrap();

    let reader = by(
        &agent,
        token(
            &agent,
            "reader",
            "key_prefix \"xds-bridge/\" { policy = \"read\" }",
        )
        .await,
    );
    let mut watched = Watched::of(&reader);
    watched.until(&[("a", "1")]).await;
    denied(reader.put("a", b"2", If::Always).await, KEYS);
    denied(reader.delete("a", If::Always).await, KEYS);
    denied(reader.hold("replicas/b", b"", TTL).await.map(drop), SESSIONS);
    all.put("a", b"3", If::Always).await.unwrap();
    watched.until(&[("a", "3")]).await;

    let writer = by(&agent, token(&agent, "writer", KEYS).await);
    writer.put("b", b"1", If::Always).await.unwrap();
    denied(writer.hold("replicas/b", b"", TTL).await.map(drop), SESSIONS);
    let sessions = by(&agent, token(&agent, "sessions", SESSIONS).await);
    denied(sessions.hold("replicas/b", b"", TTL).await.map(drop), KEYS);

    // Nothing at all: it must not look like nothing that is there.
    let file = token(&agent, "none", "").await;
    let none = by(&agent, file.clone());
    let mut blind = Watched::of(&none);
    blind.until_away(KEYS, &[]).await;
    denied(none.list().await, KEYS);
    denied(none.get("a").await, KEYS);
    let sees = token(&agent, "sees", KEYS).await;
    std::fs::copy(sees, &file).unwrap();
    blind.until(&[("a", "3"), ("b", "1")]).await;
    // And back: what was seen stays.
    let blank = token(&agent, "blank", "").await;
    std::fs::copy(blank, &file).unwrap();
    blind.until_away(KEYS, &[("a", "3"), ("b", "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_names_what_the_role_lacks() {
    const GRANT: &str = "etcdctl role grant-permission ROLE --prefix=true readwrite xds-bridge/";
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut client = etcd.client().await;
    client.user_add("root", "root", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    for (user, permission) in [
        ("all", Some(Permission::read_write(ROOT).with_prefix())),
        ("reader", Some(Permission::read(ROOT).with_prefix())),
        ("none", None),
    ] {
        client.role_add(user).await.unwrap();
        if let Some(permission) = permission {
            client.role_grant_permission(user, permission).await.unwrap();
        }
        client.user_add(user, "secret", None).await.unwrap();
        client.user_grant_role(user, user).await.unwrap();
    }
    client.auth_enable().await.unwrap();
    let by = |user: &str| {
        store(&SourceConfig::Etcd(EtcdSource {
            login: Some(EtcdLogin {
                user: user.to_owned(),
                password_file: password.clone(),
            }),
            ..EtcdSource::new(vec![etcd.url()], "/services/")
        }))
    };
    let all = by("all");
    all.put("a", b"1", If::Absent).await.unwrap();
    let hold = all.hold("replicas/a", b"", TTL).await.unwrap();
    hold.put("answers/1", b"").await.unwrap();
    hold.release().await.unwrap();

    let reader = by("reader");
    let mut watched = Watched::of(&reader);
    watched.until(&[("a", "1")]).await;
    denied(reader.put("a", b"2", If::Always).await, GRANT);
    denied(reader.delete("a", If::Always).await, GRANT);
    denied(reader.hold("replicas/b", b"", TTL).await.map(drop), GRANT);
    all.put("a", b"3", If::Always).await.unwrap();
    watched.until(&[("a", "3")]).await;

    let none = by("none");
    let mut blind = Watched::of(&none);
    blind.until_away(GRANT, &[]).await;
    denied(none.list().await, GRANT);
    denied(none.put("a", b"2", If::Always).await, GRANT);
    let mut root = etcd_client::Client::connect(
        [etcd.url()],
        Some(etcd_client::ConnectOptions::new().with_user("root", "root")),
    )
    .await
    .unwrap();
    let permission = Permission::read_write(ROOT).with_prefix();
    root.role_grant_permission("none", permission).await.unwrap();
    blind.until_for(wait::PATIENCE * 2, &[("a", "3")]).await;
}
