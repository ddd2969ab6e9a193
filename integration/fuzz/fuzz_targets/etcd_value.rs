//! Histories of keys and values of etcd, in each format and in tables of anybody: no panic, and all that tests/parsers.rs promises.
#![no_main]

#[path = "../../../tests/support/parsers/mod.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| parsers::etcd_value(input));
