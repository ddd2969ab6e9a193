//! Files of a folder.

#[path = "../../../../../src/source/file/document.rs"]
mod document;

pub use document::{Document, Syntax, read};
