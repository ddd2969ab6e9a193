//! What other programs read of a registry, as declarations of ours: the tags that were written for Traefik or fabio. A
//! tag that has no meaning here costs itself, and is named. What must protect a route and cannot be had refuses it.
//! Pure.

mod addresses;
mod entry;
mod fabio;
mod gathered;
mod layout;
mod path;
mod regex;
mod route;
mod traefik;
mod url;

pub use self::entry::{Checked, Entry, Imported, Own, Placed, PlacedRoute};
pub use self::fabio::{Commands, shares};
use self::gathered::Gathered;
pub use self::layout::Layout;
use crate::config::Import;
use crate::model::Issue;

/// What the tags of an entry declare for the programs that are imported.
pub fn import(settings: &Import, entry: &Entry<'_>, issues: &mut Vec<Issue>) -> Imported {
    let mut gathered = Gathered::new(entry);
    if let Some(settings) = &settings.traefik {
        traefik::read(settings, entry, &mut gathered);
    }
    if let Some(settings) = &settings.fabio {
        fabio::read(settings, entry, &mut gathered);
    }
    gathered.finish(issues)
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
