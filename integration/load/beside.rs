//! What a change takes to reach twenty good streams: alone, beside each attack of `hostile.rs`, and while the same attack
//! is on another bridge of this machine. The last is the machine's part: the attacked takes its cores there, too.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::board::Board;
use crate::catalog;
use crate::changes::{Audience, Changer};
use crate::client::Client;
use crate::hostile::{Attack, SERVICES};
use crate::numbers::Table;
use crate::requests::Script;
use crate::server::Server;
use crate::support::etcd::Etcd;

/// Streams that mean well.
const GOOD: usize = 20;

/// Changes before, and as many beside the attack.
const CHANGES: usize = 200;

/// Prints the table.
pub(crate) async fn measure(attacks: &[Attack]) {
    let folder = tempfile::tempdir().expect("a folder");
    catalog::write(&folder.path().join("catalog.json"), SERVICES, catalog::INSTANCES);
    let all: Vec<String> = (0..SERVICES).map(catalog::name).collect();
    let everybody: Vec<usize> = (0..GOOD).collect();
    let wanted = u32::try_from(SERVICES).expect("services");
    let mut table = Table::new(
        format!("{CHANGES} changes at {GOOD} good streams, ms from the begin of the write, p50 / p99 / max"),
        &[
            "what a hostile client does meanwhile, again and again",
            "before",
            "beside it",
            "beside the same on another bridge",
        ],
    );
    for attack in attacks.iter().copied() {
        // Of its own: a change to what an earlier round wrote is none.
        let etcd = Etcd::start().await;
        let sources = catalog::file_source(folder.path()) + &catalog::etcd_source(&etcd.url());
        let server = Server::start(&sources).await;
        let board = Arc::new(Board::new(GOOD));
        let script = Arc::new(Script::new(true, true, &all, None));
        let _client = Client::open(server.xds, &vec![script; GOOD], &board);
        board
            .until("the first sync", &everybody, |_, slot| slot.endpoints() >= wanted)
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let audience = Audience::new(SERVICES, GOOD, None);
        let mut changer = Changer::new(etcd.client().await, board.clone(), audience, server.pid());
        let before = changer.single(CHANGES).await;
        let threads = begin(attack, &server);
        let beside = changer.single(CHANGES).await;
        threads.shutdown_background();
        let other = Server::start(&catalog::file_source(folder.path())).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let threads = begin(attack, &other);
        let elsewhere = changer.single(CHANGES).await;
        threads.shutdown_background();
        let outcomes = [before, beside, elsewhere].map(|outcome| outcome.all.three());
        let [before, beside, elsewhere] = outcomes;
        table.row([attack.title(), before, beside, elsewhere]);
    }
    println!("{table}");
}

/// Attacks this server again and again, until the threads end. They stand back: what attacks a bridge has another machine
/// than the bridge, and here it would take a core from it.
fn begin(attack: Attack, server: &Server) -> Runtime {
    let (xds, admin) = (server.xds, server.admin);
    let threads = Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            let _ = rustix::process::nice(19);
        })
        .build()
        .expect("threads");
    threads.spawn(async move {
        loop {
            attack.run(xds, admin, Duration::ZERO).await;
        }
    });
    threads
}
