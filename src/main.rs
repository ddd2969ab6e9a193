//! The program: its allocator, and how a failure is printed.

use std::process::ExitCode;

use clap::Parser as _;
use xds_bridge::cli::{Cli, Unfinished};
use xds_bridge::text;

/// Gives back what a burst of clients took: glibc keeps it (docs/performance.md, "What comes back").
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xds-bridge: {}", text::chain(&*error));
            let unfinished = error.downcast_ref::<Unfinished>();
            unfinished.map_or(ExitCode::FAILURE, |unfinished| unfinished.code.into())
        }
    }
}
