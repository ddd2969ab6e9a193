//! `load large`: what one change costs in a service of ten thousands of instances, with nobody connected.

use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};

use crate::numbers::{Table, mib, ms};
use crate::server::Server;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::procfs;

/// Changes that are measured.
const CHANGES: u16 = 40;

/// Between two of them: each is served by itself.
const PAUSE: Duration = Duration::from_millis(250);

/// Keys in one transaction.
const TOGETHER: usize = 100;

fn key(instance: usize) -> String {
    instance_key("large", &format!("large-{instance}"))
}

fn value(instance: usize, port: u16) -> String {
    let [_, high, middle, low] = u32::try_from(instance).expect("a number").to_be_bytes();
    format!(
        "{{\"address\":\"10.{high}.{middle}.{low}\",\"port\":{port},\"version\":\"9f31c2a\",\"zone\":\"a\"}}"
    )
}

async fn fill(client: &mut Client, instances: usize) {
    let all: Vec<usize> = (0..instances).collect();
    for some in all.chunks(TOGETHER) {
        let puts = some
            .iter()
            .map(|n| TxnOp::put(key(*n), value(*n, 1), None))
            .collect::<Vec<_>>();
        client
            .txn(Txn::new().and_then(puts))
            .await
            .expect("a transaction of etcd");
    }
}

/// Prints the table.
pub(crate) async fn measure(quick: bool) {
    let mut table = Table::new(
        "One instance of a large service changes in etcd, nobody connected",
        &["instances", "CPU per change, ms", "resident, MiB"],
    );
    let sizes = if quick { &[20_000][..] } else { &[20_000, 160_000] };
    for instances in sizes {
        let etcd = Etcd::start().await;
        let mut client = etcd.client().await;
        fill(&mut client, *instances).await;
        let source = format!(
            "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n",
            etcd.url()
        );
        let server = Server::start(&source).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = procfs::cpu(server.pid());
        tokio::time::sleep(PAUSE * u32::from(CHANGES)).await;
        let idle = procfs::cpu(server.pid()).since(&idle);
        let busy = procfs::cpu(server.pid());
        for change in 1..=CHANGES {
            let put = client.put(key(7), value(7, 1 + change), None).await;
            put.expect("a change of etcd");
            tokio::time::sleep(PAUSE).await;
        }
        let busy = procfs::cpu(server.pid()).since(&busy);
        let each = busy.saturating_sub(idle) / u32::from(CHANGES);
        table.row([
            instances.to_string(),
            ms(each),
            mib(procfs::resident(server.pid())),
        ]);
    }
    println!("{table}");
}
