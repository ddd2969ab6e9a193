//! Where clients are, numbered. Not by sub-zone: no resource depends on it.

use std::sync::Arc;

/// Maximum of places that are distinguished, since the bridge started: each may have a content of its own of each
/// assignment.
pub const MAX_PLACES: usize = 64;

/// Where clients are.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    number: u8,
    /// `node.locality.region`
    pub region: String,
    /// `node.locality.zone`
    pub zone: String,
}

/// All places that clients have named.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Arc<Place>>);

impl Place {
    /// By which contents for it are found.
    pub(super) const fn number(&self) -> u8 {
        self.number
    }
}

impl Places {
    /// The place of this name. `None`: it says nothing, or there are too many.
    pub(super) fn find(&mut self, region: &str, zone: &str) -> Option<Arc<Place>> {
        if region.is_empty() && zone.is_empty() {
            return None;
        }
        let known = self.0.iter().find(|p| p.region == region && p.zone == zone);
        if let Some(place) = known {
            return Some(place.clone());
        }
        let number = u8::try_from(self.0.len())
            .ok()
            .filter(|n| usize::from(*n) < MAX_PLACES)?;
        let place = Arc::new(Place {
            number,
            region: region.to_owned(),
            zone: zone.to_owned(),
        });
        self.0.push(place.clone());
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_distinguished_up_to_a_bound() {
        let mut places = Places::default();
        assert_eq!(places.find("", ""), None);
        let first = places.find("eu", "a").unwrap();
        for n in 1..MAX_PLACES {
            assert!(places.find("eu", &format!("zone-{n}")).is_some());
        }
        assert_eq!(places.find("us", "a"), None);
        assert_eq!(places.find("eu", "a"), Some(first));
    }
}
