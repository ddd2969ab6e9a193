//! `load program`: what the program itself takes.

use std::time::Duration;

use crate::catalog;
use crate::numbers::{Samples, Table, mib, ms};
use crate::server::Server;
use crate::support::bridge;
use crate::support::procfs;

/// Services of the large catalog.
const SERVICES: usize = 5_000;

/// Prints the table.
pub(crate) async fn measure(quick: bool) {
    let size = std::fs::metadata(bridge::binary()).expect("the binary").len();
    let mut table = Table::new(
        format!("The program: the binary has {} MiB", mib(size / 1024)),
        &[
            "catalog (file source)",
            "start to ready, ms",
            "resident, MiB",
            "peak, MiB",
        ],
    );
    let times = if quick { 1 } else { 5 };
    for (services, instances) in [(2, 2), (SERVICES, catalog::INSTANCES)] {
        let folder = tempfile::tempdir().expect("a folder");
        catalog::write(&folder.path().join("catalog.json"), services, instances);
        let sources = catalog::file_source(folder.path());
        let (mut ready, mut resident, mut peak) = (Samples::default(), Vec::new(), Vec::new());
        for _ in 0..times {
            let server = Server::start(&sources).await;
            ready.push(server.start_to_ready);
            tokio::time::sleep(Duration::from_secs(2)).await;
            resident.push(procfs::resident(server.pid()));
            peak.push(procfs::peak(server.pid()));
        }
        table.row([
            format!("{services} services × {instances}"),
            ms(ready.median()),
            mib(median(&mut resident)),
            mib(median(&mut peak)),
        ]);
    }
    println!("{table}");
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
