//! The stream engine alone, under the name of the crate that holds it.

#[path = "../../../src/xds/mod.rs"]
pub mod xds;
