//! Declared keys and routes: no panic, and all that tests/parsers.rs promises.
#![no_main]

#[path = "../../../tests/support/parsers/mod.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| parsers::declaration(input));
