//! `make hostile-registries`: what a Consul or an etcd may answer that means no good, or is broken, one after the other
//! against a bridge with `limits.source_memory = "128MiB"`. After each the bridge lives, has never had more than
//! 300 MiB resident, has said what is wrong, and follows a good registry again. Exits with 1 where that is not so.
//!
//! `hostile consul`, `hostile etcd`, `hostile consul names` run those whose name contains the words.
#![allow(clippy::print_stdout, reason = "its table goes to a person, or into a file")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures how long a bridge takes, from outside"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here ends the proof, with a sentence"
)]

#[path = "support/mod.rs"]
mod support;

#[path = "hostile/answer.rs"]
mod answer;
#[path = "hostile/consul.rs"]
mod consul;
#[path = "hostile/consul_answers.rs"]
mod consul_answers;
#[path = "hostile/etcd.rs"]
mod etcd;
#[path = "hostile/etcd_answers/mod.rs"]
mod etcd_answers;
#[path = "hostile/scene.rs"]
mod scene;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |registry: &str, name: &str| {
        let name = format!("{registry} {name}");
        words.iter().all(|word| name.contains(word.as_str()))
    };
    let mut failed = 0;
    let mut ran = 0;
    println!(
        "| registry | what it answers | peak, MiB | what `/readyz` said | followed again |\n|---|---|---|---|---|"
    );
    for (name, case) in consul_answers::all() {
        if wanted("consul", name) {
            ran += 1;
            let quiet = case.quiet;
            let outcome = scene::play(consul::Consul::start(case).await, quiet).await;
            failed += u32::from(!outcome.print("consul", name));
        }
    }
    for (name, case) in etcd_answers::all() {
        if wanted("etcd", name) {
            ran += 1;
            let quiet = case.quiet;
            let outcome = scene::play(etcd::Etcd::start(case).await, quiet).await;
            failed += u32::from(!outcome.print("etcd", name));
        }
    }
    println!("\n{} passed, {failed} failed", ran - failed);
    if failed == 0 && ran > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
