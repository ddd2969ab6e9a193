//! Who looks at a generation: what a client gets depends on nothing else.

use std::sync::Arc;

use super::client::Client;
use super::place::Place;
use super::view::View;

/// A client, as far as what it gets depends on it.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// Which implementation it is.
    pub client: Client,
    /// Its fleet.
    pub fleet: Arc<str>,
    /// Where it is; `None`: it does not say, or too many others say something else.
    pub place: Option<Arc<Place>>,
    /// `None`: it sees everything.
    pub view: Option<View>,
}

impl Viewer {
    /// A client of a fleet that does not say where it is.
    #[must_use]
    pub fn of(client: Client, fleet: &Arc<str>) -> Self {
        Self {
            client,
            fleet: fleet.clone(),
            place: None,
            view: None,
        }
    }
}
