//! Users, roles and tokens of a real etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Permission, RoleRevokePermissionOptions};
use tokio::time::{sleep, timeout};
use xds_bridge::config::{EtcdLogin, EtcdPrefix, EtcdSource};
use xds_bridge::registry::etcd::{Access, Connection, Error, Login};

use super::support::{Bridge, DEADLINE, Node, ports, value};

const PASSWORD: &str = "correct horse";

/// etcd with a user `bridge` that may read `/a/`; its root may do everything.
pub(super) async fn with_users(args: &[&str]) -> (Node, Client) {
    let args = [&["--bcrypt-cost", "4"], args].concat();
    let node = Node::with(tempfile::tempdir().unwrap(), &args, None).await;
    let mut client = node.connect().await;
    client.user_add("root", "root", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("reader").await.unwrap();
    client.user_add("bridge", PASSWORD, None).await.unwrap();
    client.user_grant_role("bridge", "reader").await.unwrap();
    allow(&mut client, "/a/").await;
    client.auth_enable().await.unwrap();
    let root = root(&node).await;
    (node, root)
}

pub(super) async fn root(node: &Node) -> Client {
    let options = ConnectOptions::new()
        .with_user("root", "root")
        .with_timeout(Duration::from_secs(5))
        .with_auto_token_refresh(true);
    Client::connect([node.endpoint()], Some(options)).await.unwrap()
}

pub(super) async fn allow(client: &mut Client, prefix: &str) {
    let permission = Permission::read(prefix).with_prefix();
    client.role_grant_permission("reader", permission).await.unwrap();
}

async fn put(client: &mut Client, service: &str, port: usize) {
    let key = format!("{service}/instances/{port}");
    client.put(key, value(port), None).await.unwrap();
}

fn password_file(folder: &Path) -> PathBuf {
    let path = folder.join("password");
    std::fs::write(&path, format!("{PASSWORD}\n")).unwrap();
    path
}

pub(super) fn config(node: &Node, prefixes: &[&str]) -> EtcdSource {
    EtcdSource {
        prefixes: prefixes.iter().map(|prefix| EtcdPrefix::native(prefix)).collect(),
        login: Some(EtcdLogin {
            user: "bridge".to_owned(),
            password_file: password_file(node.folder.path()),
        }),
        ..EtcdSource::new(vec![node.endpoint()], "/a/")
    }
}

/// The arguments of both kinds of tokens that last a second.
fn tokens(folder: &Path) -> [Vec<String>; 2] {
    let secret = folder.join("secret");
    std::fs::write(&secret, "a secret of thirty-two bytes ....").unwrap();
    let jwt = format!("jwt,priv-key={},sign-method=HS256,ttl=1s", secret.display());
    [
        ["--auth-token", "simple", "--auth-token-ttl", "1"]
            .map(str::to_owned)
            .into(),
        ["--auth-token".to_owned(), jwt].into(),
    ]
}

#[tokio::test]
async fn a_token_that_ran_out_is_told_apart_inside_and_outside_of_a_watch() {
    let folder = tempfile::tempdir().unwrap();
    for args in tokens(folder.path()) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (node, mut root) = with_users(&args).await;
        put(&mut root, "/a/s0", 1).await;
        let access = Access {
            login: Some(Login {
                user: "bridge".to_owned(),
                password_file: password_file(folder.path()),
            }),
            ..Access::default()
        };
        let open = async || Connection::open(&node.endpoint(), &access).await.unwrap();
        let (listing, watching) = (open().await, open().await);
        assert!(listing.list("/a/").await.is_ok());
        assert!(watching.watch("/a/", 1).await.is_ok());
        let expired = async {
            // A use makes a simple token last longer: between two looks it is left alone.
            loop {
                sleep(Duration::from_secs(3)).await;
                if let (Err(list), Err(watch)) = (
                    listing.list("/a/").await.map(drop),
                    watching.watch("/a/", 1).await,
                ) {
                    return (list, watch);
                }
            }
        };
        let ends = timeout(DEADLINE, expired).await.expect("tokens run out");
        assert!(
            matches!(ends, (Error::Expired { .. }, Error::Expired { .. })),
            "{ends:?}"
        );
        assert!(open().await.list("/a/").await.is_ok(), "after a new login");
        let denied = open().await.watch("/b/", 1).await.unwrap_err();
        assert!(matches!(denied, Error::Denied { .. }), "{denied:?}");
    }
}

/// The watch stands, its token has run out several times, and nobody has written: a new login for the reads beside
/// the watch is no outage.
#[tokio::test]
async fn tokens_that_run_out_beside_a_quiet_watch_are_renewed_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    for args in tokens(folder.path()) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (node, mut root) = with_users(&args).await;
        put(&mut root, "/a/s0", 1).await;
        let mut bridge = Bridge::of(&config(&node, &["/a/"]));
        bridge.live().await;
        // Two looks beside the watch, each with a token that is none any more.
        assert!(
            bridge.is_quiet(Duration::from_secs(24)).await,
            "{:?}",
            bridge.status
        );
        put(&mut root, "/a/s0", 2).await;
        let both = |b: &Bridge| b.ports() == ports([("s0", &[1, 2])]);
        bridge.timed("a change after tokens ran out", both).await;
        assert!(bridge.lost.is_empty());
        bridge.stop().await;
    }
}

/// The denied prefix tries on over the connection that stands, with a token that has run out since,
/// or that is older than the rights.
#[tokio::test]
async fn a_denied_prefix_is_named_and_comes_when_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    for args in tokens(folder.path()) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (node, mut root) = with_users(&args).await;
        put(&mut root, "/a/s0", 1).await;
        put(&mut root, "/b/s0", 2).await;
        put(&mut root, "/b/s1", 3).await;
        let mut bridge = Bridge::of(&config(&node, &["/a/", "/b/"]));
        bridge.away("the user `bridge` may not read /b/").await;
        bridge.away("grant-permission ROLE --prefix=true read /b/").await;
        assert!(bridge.ports().is_empty(), "all prefixes are waited for");
        // Longer than a token lasts.
        assert!(bridge.is_quiet(Duration::from_secs(3)).await);
        allow(&mut root, "/b/").await;
        bridge.live().await;
        assert_eq!(bridge.ports(), ports([("s0", &[1, 2]), ("s1", &[3])]));
        // A JWT names the revision of the rights that it was issued at: from 3.6 on an older one may not write.
        let mut root = self::root(&node).await;
        put(&mut root, "/a/s1", 4).await;
        bridge
            .until("a later change", |b| b.ports()["s1"] == [3, 4].into())
            .await;
        bridge.stop().await;
    }
}

#[tokio::test]
async fn a_narrowed_right_and_a_deleted_user_take_nothing_away() {
    let (mut node, mut client) = with_users(&[]).await;
    put(&mut client, "/a/s0", 1).await;
    let mut bridge = Bridge::of(&config(&node, &["/a/"]));
    bridge.live().await;
    let whole = RoleRevokePermissionOptions::new().with_prefix();
    client
        .role_revoke_permission("reader", "/a/", Some(whole))
        .await
        .unwrap();
    // etcd asks for the right when a watch is opened, not while it stands.
    node.restart(None).await;
    bridge.away("the user `bridge` may not read /a/").await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    let mut client = root(&node).await;
    allow(&mut client, "/a/").await;
    bridge.live().await;
    client.user_delete("bridge").await.unwrap();
    node.restart(None).await;
    bridge.away("authentication failed").await;
    let mut client = root(&node).await;
    put(&mut client, "/a/s0", 2).await;
    client.user_add("bridge", PASSWORD, None).await.unwrap();
    client.user_grant_role("bridge", "reader").await.unwrap();
    bridge
        .until("back", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
}

#[tokio::test]
async fn a_password_that_changed_is_read_from_its_file() {
    let (mut node, mut client) = with_users(&[]).await;
    put(&mut client, "/a/s0", 1).await;
    let config = config(&node, &["/a/"]);
    let mut bridge = Bridge::of(&config);
    bridge.live().await;
    client.user_change_password("bridge", "another").await.unwrap();
    node.restart(None).await;
    bridge
        .away("password_file must be that of the user `bridge`")
        .await;
    std::fs::write(&config.login.unwrap().password_file, "another").unwrap();
    bridge.live().await;
    assert!(bridge.lost.is_empty());
    bridge.stop().await;
}
