//! The body of a policy document's key in Consul's KV: no panic, and all that tests/parsers.rs promises.
#![no_main]

#[path = "../../../tests/support/parsers/mod.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| parsers::consul_policy(input));
