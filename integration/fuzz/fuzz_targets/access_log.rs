//! Messages of access logs: no panic, and all that tests/parsers.rs promises.
#![no_main]

#[path = "../../../tests/support/parsers/mod.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| parsers::access_log(input));
