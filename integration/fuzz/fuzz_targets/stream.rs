//! Histories of publications, requests, answers and time, against clients like Envoy and
//! gRPC's own: no panic, and all that tests/xds_properties.rs promises.
#![no_main]

#[path = "../../../tests/support/client.rs"]
mod client;
#[path = "../../../tests/support/contents.rs"]
mod contents;
#[path = "../../../tests/support/model.rs"]
mod model;
#[path = "../../../tests/support/promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|history: &[u8]| model::play(history));
