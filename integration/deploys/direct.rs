//! gRPC without a proxy: its own clients lose no call in rolling deploys, though none of them reports single instances.

use super::scene::{Deployed, Scene, Service, Way, is_long, rounds};
use crate::support::grpc::{Caller, Language};

/// Long enough for a call of theirs.
const DRAIN: &str = "grace = \"1s\"\nin_flight = \"1s\"";

async fn rolling(languages: &[Language], way: Way, what: &str) {
    let scene = Scene::start(DRAIN).await;
    let mut old = scene.deploy(Service::Carts, 0).await;
    let here = languages.iter().filter(|language| language.is_here());
    let callers: Vec<(Language, Caller)> = here
        .map(|language| {
            let bootstrap = scene.bridge.grpc_bootstrap(&format!("{language:?}"));
            let method = if is_long() {
                "/shop.Carts/After-400"
            } else {
                "/shop.Carts/Get"
            };
            let caller = Caller::start(*language, &bootstrap, "xds:///carts", method);
            (*language, caller)
        })
        .collect();
    for (_, caller) in &callers {
        caller.reaches(&["carts-0"]).await;
    }
    let failed_before: Vec<usize> = callers.iter().map(|(_, c)| c.calls().failures.len()).collect();
    let rounds = rounds(1);
    for n in 1..=rounds {
        let next: Deployed = scene.deploy(Service::Carts, n).await;
        scene.retire(std::mem::replace(&mut old, next), way).await;
        for (_, caller) in &callers {
            caller.goes_on(5).await;
        }
    }
    for ((language, caller), before) in callers.iter().zip(failed_before) {
        let calls = caller.calls();
        let (sent, failed) = (
            calls.answers.len() + calls.failures.len(),
            calls.failures.len() - before,
        );
        eprintln!("| gRPC without a proxy, {language:?}, {what} | {rounds} | {sent} | {failed} |");
        assert_eq!(failed, 0, "{language:?}: {:?}", calls.failures);
    }
    scene.bridge.assert_no_nacks().await;
}

const LANGUAGES: [Language; 5] = [
    Language::Python,
    Language::Node,
    Language::Rust,
    Language::Go,
    Language::Java,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_clients_lose_no_call_by_the_commands() {
    rolling(&LANGUAGES, Way::Command, "by the commands").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_clients_lose_no_call_by_deregistration() {
    rolling(&LANGUAGES, Way::Deregister, "by deregistration").await;
}
