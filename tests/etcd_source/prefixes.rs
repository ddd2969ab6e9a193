//! Several prefixes in one source: one first change, one connection, and troubles of their own.

use super::fake::{Ask, Fake, PERMISSION_DENIED, Reply, UNAVAILABLE, canceled};
use super::{config, hub, instance, ranges};
use xds_bridge::config::{EtcdPrefix, EtcdSource};

fn two_prefixes(address: &String) -> EtcdSource {
    EtcdSource {
        prefixes: ["/a/", "/b/"].map(EtcdPrefix::native).into(),
        ..config(&[address])
    }
}

fn write(fake: &Fake, service: &str, port: u16) {
    let (key, value) = instance(service, port);
    fake.txn(&[(&key, Some(&value))]);
}

#[tokio::test]
async fn the_first_change_of_a_source_waits_for_all_its_prefixes() {
    let (fake, address) = Fake::start().await;
    write(&fake, "/a/orders", 1);
    write(&fake, "/b/orders", 2);
    write(&fake, "/b/users", 3);
    let denied = |ask: &Ask| match ask {
        Ask::Range { key, .. } if key == "/b/" => {
            Some(Reply::Fail(PERMISSION_DENIED, "etcdserver: permission denied"))
        }
        _ => None,
    };
    fake.script(denied);
    let mut hub = hub(&two_prefixes(&address));
    hub.until_away("/b/: ").await;
    assert!(hub.changes.is_empty());
    fake.script(|_| None);
    hub.until_live().await;
    assert_eq!(hub.changes.len(), 1);
    assert!(hub.changes[0].complete);
    assert_eq!(
        hub.named(),
        [("orders".into(), Some(2)), ("users".into(), Some(1))]
    );
    assert_eq!(hub.ports("orders").unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_prefix_that_is_canceled_does_not_stop_the_others() {
    let (fake, address) = Fake::start().await;
    write(&fake, "/a/orders", 1);
    write(&fake, "/b/orders", 2);
    let mut hub = hub(&two_prefixes(&address));
    hub.until_live().await;
    assert_eq!(fake.connections(), 1, "one connection for all prefixes");
    let header = fake.header();
    fake.script(move |ask| match ask {
        Ask::Watch { key, .. } if key == "/b/" => Some(canceled(header, "etcdserver: permission denied")),
        _ => None,
    });
    fake.cut_watch("/b/", UNAVAILABLE);
    hub.until_away("/b/: ").await;
    write(&fake, "/a/orders", 3);
    write(&fake, "/b/orders", 4);
    hub.until_ports("orders", &[1, 2, 3]).await;
    fake.script(|_| None);
    hub.until_live().await;
    hub.until_ports("orders", &[1, 2, 3, 4]).await;
    let watches = |wanted: &str| fake.count(|ask| matches!(ask, Ask::Watch { key, .. } if key == wanted));
    assert_eq!(watches("/a/"), 1, "its watch was not touched");
    assert_eq!(ranges(&fake), 2, "each prefix was listed once");
}
