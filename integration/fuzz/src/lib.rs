//! The pure parts alone, under the name of the crate that holds them: what reads bytes of others, and
//! the stream engine. Their few dependencies are all there is to build.

#[path = "../../../src/config/mod.rs"]
pub mod config;
#[path = "../../../src/errors/mod.rs"]
pub mod errors;
#[path = "../../../src/fields.rs"]
pub mod fields;
#[path = "../../../src/import/mod.rs"]
pub mod import;
#[path = "../../../src/loads/mod.rs"]
pub mod loads;
#[path = "../../../src/model/mod.rs"]
pub mod model;
pub mod cache;
pub mod registry;
pub mod source;
#[path = "../../../src/text/mod.rs"]
pub mod text;
#[path = "../../../src/xds/mod.rs"]
pub mod xds;
