//! The whole system on one seed: several bridges (the real hub, catalog, planner, translator, fan-out and engine), the
//! registry, Envoys, gRPC clients, operators and teams, on a virtual clock and a virtual network. No sockets, no wall
//! clock, no threads. What must hold is checked after each event; a history that breaks a rule is made smaller and
//! printed in words. docs/testing.md says how to use it, and how to add an actor, a fault or a rule.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may"
)]

mod act;
mod bridge;
mod checks;
mod client;
mod contents;
mod declare;
mod dice;
mod etcd;
mod faults;
mod history;
mod kept;
mod others;
mod quiet;
mod reader;
mod registry;
mod rules;
mod serve;
mod servers;
mod shadow;
mod shrink;
mod streams;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use faults::Fault;
use history::History;
use rules::Broken;
use world::{Played, World};
use xds_bridge::clock::unix_millis;

/// What a panic breaks.
const PANIC: &str = "nobody panics";

/// Seeds that are played each time.
const FIRST: u64 = 80;

/// Plays a history.
fn play(history: &History, trace: bool, fault: Option<Fault>) -> Result<Played, Broken> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime without threads");
        runtime.block_on(async { World::new(&history.setup, trace, fault).play(history).await })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(played) => played,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(Broken::new(PANIC, text.unwrap_or_default()))
        }
    }
}

/// Fails with the smallest history that breaks the rule.
fn fail(seed: u64, history: &History, broken: &Broken) -> ! {
    eprintln!("seed {seed}: {broken}\nmaking it smaller ...");
    std::panic::set_hook(Box::new(|_| {}));
    let (smallest, broken) = shrink::shrink(history, broken, |history| play(history, false, None).err());
    drop(std::panic::take_hook());
    panic!("seed {seed}: {broken}\n{smallest}\n{smallest:?}");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text
        .strip_prefix("0x")
        .map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    Some(number.unwrap_or_else(|| panic!("{name}={text} is not a number")))
}

/// `SIM_SECONDS`, `SIM_SEED`, `SIM_COUNT` and `SIM_TRACE` say how long, from which seed on, how many, and whether each
/// event is printed.
#[test]
#[ignore = "make simulate"]
fn fresh_histories_hold() {
    let began = unix_millis();
    let seconds = number("SIM_SECONDS").unwrap_or(60);
    let first = number("SIM_SEED").unwrap_or(began);
    let count = number("SIM_COUNT").unwrap_or(u64::MAX);
    let trace = number("SIM_TRACE").is_some();
    println!("simulation: seeds from {first} on, for {seconds} s");
    let (mut events, mut seeds, mut time) = (0, 0, std::time::Duration::ZERO);
    while seeds < count && unix_millis().saturating_sub(began) < seconds * 1_000 {
        let seed = first.wrapping_add(seeds);
        let history = History::of(seed);
        match play(&history, trace, None) {
            Ok(played) => {
                events += played.events;
                time += played.time;
            }
            Err(broken) => fail(seed, &history, &broken),
        }
        seeds += 1;
    }
    let took = unix_millis().saturating_sub(began).max(1);
    println!(
        "simulation: {seeds} histories from seed {first} on, {events} events, {} hours of virtual time in {} s: {} \
         events a minute",
        time.as_secs() / 3_600,
        took / 1_000,
        events * 60_000 / took
    );
}

#[test]
fn the_first_histories_hold() {
    for seed in 1..=FIRST {
        let history = History::of(seed);
        if let Err(broken) = play(&history, false, None) {
            fail(seed, &history, &broken);
        }
    }
}

#[test]
fn a_seed_plays_the_same_each_time() {
    for seed in 1..4 {
        let history = History::of(seed);
        assert_eq!(history, History::of(seed));
        let (one, other) = (play(&history, false, None), play(&history, false, None));
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn kept_histories_hold() {
    for (what, history) in kept::all() {
        if let Err(broken) = play(&history, false, None) {
            panic!("{what}: {broken}\n{history}");
        }
    }
}

/// Faults that are put back are found in histories that hold without them; how soon is printed. Two need longer ones.
#[test]
fn faults_that_are_put_back_are_found() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let mut events = 0;
        let found = (1..=faults::SEEDS).find_map(|seed| match play(&History::of(seed), false, Some(fault)) {
            Ok(played) => {
                events += played.events;
                None
            }
            Err(broken) => Some((seed, broken)),
        });
        match found {
            Some((seed, broken)) => {
                println!("| {} | {} | {seed} | {events} |", fault.words(), broken.rule);
            }
            None => missed.push(fault),
        }
    }
    assert_eq!(
        missed,
        [Fault::SetBack, Fault::LastGood],
        "not found in {} histories",
        faults::SEEDS
    );
}
