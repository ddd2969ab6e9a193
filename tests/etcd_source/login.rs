//! Users, passwords, tokens that run out, and rights that are missing.

use std::path::PathBuf;

use super::fake::{
    Ask, FAILED_PRECONDITION, Fake, INVALID_ARGUMENT, PERMISSION_DENIED, Reply, UNAUTHENTICATED, UNAVAILABLE,
    canceled,
};
use super::{config, hub, orders, put, ranges};
use xds_bridge::config::{EtcdLogin, EtcdSource};
use xds_bridge::model::Status;

fn logins(fake: &Fake) -> usize {
    fake.count(|ask| matches!(ask, Ask::Login { .. }))
}

/// A user, with the password in a file.
fn login(config: EtcdSource, folder: &tempfile::TempDir, password: &str) -> (EtcdSource, PathBuf) {
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, password).unwrap();
    let login = EtcdLogin {
        user: "bridge".to_owned(),
        password_file: password_file.clone(),
    };
    let login = Some(login);
    (EtcdSource { login, ..config }, password_file)
}

#[tokio::test]
async fn an_expired_token_is_renewed_without_a_listing_or_a_word() {
    for reason in [
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
        "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
    ] {
        let (fake, address) = Fake::start().await;
        put(&fake, &[1]);
        let folder = tempfile::tempdir().unwrap();
        let (config, _) = login(config(&[&address]), &folder, "s3cret\n");
        // Of two prefixes one was denied: its next try comes over the connection that stands.
        let mut refused = Some(canceled(fake.header(), reason));
        fake.script(move |ask| match ask {
            Ask::Watch { token, .. } if token == "token-1" => refused.take(),
            _ => None,
        });
        let mut hub = hub(&config);
        hub.until_live().await;
        put(&fake, &[2]);
        hub.until_ports("orders", &[1, 2]).await;
        assert_eq!(hub.statuses, [Status::Live], "{reason}");
        assert_eq!((ranges(&fake), logins(&fake)), (1, 2), "{reason}");
        let with_password = Ask::Login {
            user: "bridge".to_owned(),
            password: "s3cret".to_owned(),
        };
        assert_eq!(fake.count(|ask| *ask == with_password), 2);
        assert_eq!(
            fake.count(|ask| matches!(ask, Ask::Watch { token, .. } if token == "token-2")),
            1
        );
    }
}

#[tokio::test]
async fn a_token_that_expires_before_a_listing_is_renewed() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = login(config(&[&address]), &folder, "s3cret");
    fake.script(|ask| match ask {
        Ask::Range { token, .. } if token == "token-1" => {
            Some(Reply::Fail(UNAUTHENTICATED, "etcdserver: invalid auth token"))
        }
        _ => None,
    });
    let mut hub = hub(&config);
    hub.until_live().await;
    assert_eq!(hub.statuses, [Status::Live]);
    assert_eq!(hub.ports("orders").unwrap(), [1]);
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_is_an_outage_and_no_storm() {
    let (fake, address) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = login(config(&[&address]), &folder, "s3cret");
    fake.script(|ask| match ask {
        Ask::Watch { .. } => Some(Reply::Fail(UNAUTHENTICATED, "etcdserver: invalid auth token")),
        _ => None,
    });
    let mut hub = hub(&config);
    hub.until_away("invalid auth token").await;
    fake.script(|_| None);
    hub.until_live().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_file_is_read_again() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let folder = tempfile::tempdir().unwrap();
    let (config, file) = login(config(&[&address]), &folder, "0ld-secret");
    fake.script(|ask| match ask {
        Ask::Login { password, .. } if password != "n3w-secret" => Some(Reply::Fail(
            INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
        )),
        _ => None,
    });
    let mut hub = hub(&config);
    hub.until_away("the user `bridge`").await;
    std::fs::remove_file(&file).unwrap();
    hub.until_away("password: No such file").await;
    std::fs::write(&file, "n3w-secret").unwrap();
    hub.until_live().await;
    assert_eq!(hub.ports("orders").unwrap(), [1]);
    assert!(
        !format!("{:?}", hub.statuses).contains("secret"),
        "{:?}",
        hub.statuses
    );
}

#[tokio::test]
async fn a_cluster_without_users_is_served_to_one_who_has_a_password() {
    let (fake, address) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = login(config(&[&address]), &folder, "s3cret");
    fake.script(|ask| match ask {
        Ask::Login { .. } => Some(Reply::Fail(
            FAILED_PRECONDITION,
            "etcdserver: authentication is not enabled",
        )),
        _ => None,
    });
    let mut hub = hub(&config);
    hub.until_live().await;
    assert_eq!(
        fake.count(|ask| matches!(ask, Ask::Watch { token, .. } if token.is_empty())),
        1
    );
}

#[tokio::test]
async fn a_cluster_with_users_tells_one_without() {
    let (fake, address) = Fake::start().await;
    fake.script(|ask| match ask {
        Ask::Range { .. } => Some(Reply::Fail(INVALID_ARGUMENT, "etcdserver: user name is empty")),
        _ => None,
    });
    let mut hub = hub(&config(&[&address]));
    hub.until_away("fix: user and password_file").await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_removes_nothing_and_comes_back() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = login(config(&[&address]), &folder, "s3cret");
    let mut hub = hub(&config);
    hub.until_live().await;
    let header = fake.header();
    fake.script(move |ask| match ask {
        Ask::Watch { .. } => Some(canceled(
            header,
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        )),
        _ => None,
    });
    fake.cut_watches(UNAVAILABLE);
    hub.until_away("the user `bridge` may not read /services/").await;
    hub.until_away("grant-permission ROLE --prefix=true read /services/")
        .await;
    assert_eq!(hub.ports("orders").unwrap(), [1]);
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    fake.script(|_| None);
    hub.until_live().await;
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(ranges(&fake), 1, "nothing is listed anew");
}

/// A prefix that is denied for hours outlives many tokens.
#[tokio::test]
async fn tokens_that_run_out_while_a_right_is_missing_change_nothing_in_what_is_said() {
    let (fake, address) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = login(config(&[&address]), &folder, "s3cret");
    // Each token is good for one listing.
    let mut used = std::collections::BTreeSet::new();
    fake.script(move |ask| match ask {
        Ask::Range { token, .. } if used.insert(token.clone()) => {
            Some(Reply::Fail(PERMISSION_DENIED, "etcdserver: permission denied"))
        }
        Ask::Range { .. } => Some(Reply::Fail(UNAUTHENTICATED, "etcdserver: invalid auth token")),
        _ => None,
    });
    let mut hub = hub(&config);
    hub.until_away("may not read /services/").await;
    while logins(&fake) < 6 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    fake.script(|_| None);
    hub.until_live().await;
    assert_eq!(hub.statuses.len(), 2, "{:?}", hub.statuses);
}
