//! `load streams`: what many clients cost the server: their first sync, one change, ten at
//! once, and all of them coming back after a cut. The server's base catalog is a file; what
//! changes is one further instance of a service, in an etcd (a real one, also on this machine).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::board::Board;
use crate::catalog;
use crate::changes::{Audience, Changer, Dice};
use crate::client::Client;
use crate::numbers::now;
use crate::options::{Scale, StreamArgs};
use crate::report::{Phase, Tables};
use crate::requests::Script;
use crate::server::Server;
use crate::support::etcd::Etcd;
use crate::support::procfs;

/// The server that is measured.
struct Target {
    xds: SocketAddr,
    pid: u32,
    etcd: Option<etcd_client::Client>,
}

/// Prints the tables.
pub(crate) async fn measure(wish: &StreamArgs, quick: bool) {
    let mut tables = Tables::new();
    for scale in wish.scales(quick) {
        eprintln!("load: {} streams × services", scale.title());
        if let (Some(xds), Some(pid)) = (wish.target, wish.pid) {
            let etcd = match &wish.etcd {
                Some(url) => Some(
                    etcd_client::Client::connect([url], None)
                        .await
                        .expect("that etcd"),
                ),
                None => None,
            };
            one(scale, &Target { xds, pid, etcd }, &mut tables).await;
            continue;
        }
        let etcd = Etcd::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        catalog::write(
            &folder.path().join("catalog.json"),
            scale.services,
            catalog::INSTANCES,
        );
        let sources = catalog::file_source(folder.path()) + &catalog::etcd_source(&etcd.url());
        let server = Server::start(&sources).await;
        let (xds, pid) = (server.xds, server.pid());
        let etcd = Some(etcd.client().await);
        one(scale, &Target { xds, pid, etcd }, &mut tables).await;
    }
    println!("{tables}");
}

async fn one(scale: Scale, target: &Target, tables: &mut Tables) {
    let chosen = scale.names.map(|names| choose(scale, names));
    let all: Vec<String> = (0..scale.services).map(catalog::name).collect();
    let scripts: Vec<Arc<Script>> = if let Some(chosen) = &chosen {
        let names = |of: &Vec<usize>| -> Vec<String> { of.iter().map(|s| catalog::name(*s)).collect() };
        let script = |of| Arc::new(Script::new(!scale.sotw, false, &names(of), None));
        chosen.iter().map(script).collect()
    } else {
        let script = Arc::new(Script::new(!scale.sotw, true, &all, None));
        vec![script; scale.streams]
    };
    let audience = Audience::new(scale.services, scale.streams, chosen.as_deref());
    let everybody: Vec<usize> = (0..scale.streams).collect();

    tokio::time::sleep(Duration::from_secs(1)).await; // what follows its start is over
    let before = procfs::resident(target.pid);
    procfs::forget_peak(target.pid);
    let board = Arc::new(Board::new(scale.streams));
    let wanted = u32::try_from(scale.names.unwrap_or(scale.services)).expect("services");
    let clusters = if scale.names.is_some() { 0 } else { wanted };
    let mut client = None;
    let sync = phase(target, &board, async || {
        client = Some(Client::open(target.xds, &scripts, &board));
        let has = |_: usize, slot: &crate::board::Slot| {
            slot.clusters.resources.load(Relaxed) >= clusters && slot.endpoints() >= wanted
        };
        board.until("the first sync", &everybody, has).await;
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    tables.sync(scale, &sync, &board, before, target.pid);

    if let Some(etcd) = &target.etcd {
        let mut changer = Changer::new(etcd.clone(), board.clone(), audience, target.pid);
        tables.change(scale, &changer.single(scale.changes).await);
        tables.together(scale, &changer.together(scale.changes.div_ceil(10).max(5)).await);
    }
    if scale.names.is_none() && !scale.sotw {
        storm(
            scale,
            target,
            &all,
            client.take().expect("open streams"),
            &board,
            tables,
        )
        .await;
    }
}

/// All streams are cut, and come back at once, each with right claims of what it holds.
async fn storm(
    scale: Scale,
    target: &Target,
    all: &[String],
    client: Client,
    board: &Board,
    tables: &mut Tables,
) {
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (clusters, endpoints) = board.held.lock().expect("a lock that nobody poisons").clone();
    let script = Arc::new(Script::new(true, true, all, Some((&clusters, &endpoints))));
    let scripts = vec![script; scale.streams];
    let everybody: Vec<usize> = (0..scale.streams).collect();
    let board = Arc::new(Board::new(scale.streams));
    procfs::forget_peak(target.pid);
    let mut client = None;
    let storm = phase(target, &board, async || {
        client = Some(Client::open(target.xds, &scripts, &board));
        // CDS is always answered, also when there is nothing to say (rule 32).
        let answered = |_: usize, slot: &crate::board::Slot| slot.clusters.answers.load(Relaxed) > 0;
        board.until("a reconnect", &everybody, answered).await;
    })
    .await;
    tables.storm(scale, &storm, &board, target.pid);
}

/// Does something, waits until all is quiet, and says what it took.
async fn phase(target: &Target, board: &Board, act: impl AsyncFnOnce()) -> Phase {
    const LOOK: Duration = Duration::from_millis(50);
    let (began, cpu) = (now(), procfs::cpu(target.pid));
    act().await;
    let wall = board.last() - began;
    let (mut last, mut quiet) = (procfs::cpu(target.pid), now());
    while now() - quiet < 6 * LOOK {
        tokio::time::sleep(LOOK).await;
        let next = procfs::cpu(target.pid);
        if next.since(&last) > LOOK / 50 || now() - board.last() < LOOK {
            quiet = now();
        }
        last = next;
    }
    Phase {
        wall,
        quiet: quiet - began,
        cpu: last.since(&cpu),
    }
}

/// Which services each stream subscribes to.
fn choose(scale: Scale, names: usize) -> Vec<Vec<usize>> {
    let mut dice = Dice::new();
    let mut one = || {
        let mut chosen = Vec::new();
        while chosen.len() < names.min(scale.services) {
            let service = dice.below(scale.services);
            if !chosen.contains(&service) {
                chosen.push(service);
            }
        }
        chosen
    };
    (0..scale.streams).map(|_| one()).collect()
}
