//! What a publication changes, and its encoded form: hashes and wire frames are made before the next
//! generation is, so that nothing is encoded while streams wait for the lock of a shared generation.

use std::sync::Arc;

use super::client::Client;
use super::hints::Hints;
use super::kind::Kind;
use super::resource::{Draft, Resource};
use super::view::ViewRules;

/// A change of one resource.
#[derive(Clone, Debug)]
pub enum Update {
    /// It is new, or has another content.
    Put(Draft),
    /// It is gone.
    Remove(Kind, Arc<str>),
    /// These clients get another content than the others.
    PutFor(Client, Draft),
    /// These clients get the same as the others again.
    RemoveFor(Client, Kind, Arc<str>),
}

/// Updates that are ready to be published.
#[derive(Debug, Default)]
pub struct Encoded {
    pub(super) updates: Vec<EncodedUpdate>,
    /// Of each update its name and then what it needs.
    pub(super) hints: Hints,
    /// Which fleets have which view from now on; `None`: as before.
    pub(super) rules: Option<Arc<ViewRules>>,
}

#[derive(Debug)]
pub(super) struct EncodedUpdate {
    pub(super) client: Client,
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    /// `None`: it is gone. `needs` of the resource is still empty.
    pub(super) put: Option<(Resource, Vec<Arc<str>>)>,
}

impl Encoded {
    /// Hashes and encodes.
    #[must_use]
    pub fn new(updates: &[Update]) -> Self {
        let mut encoded = Self::with_capacity(updates.len());
        for update in updates {
            encoded.push(update);
        }
        encoded
    }

    /// None yet, with room for this number.
    #[must_use]
    pub fn with_capacity(updates: usize) -> Self {
        Self {
            updates: Vec::with_capacity(updates),
            hints: Hints::default(),
            rules: None,
        }
    }

    /// Which fleets have which view from now on.
    pub fn set_rules(&mut self, rules: Arc<ViewRules>) {
        self.rules = Some(rules);
    }

    /// Hashes and encodes one more. It can be dropped then: many drafts are never held together with their encoded
    /// form.
    pub fn push(&mut self, update: &Update) {
        self.updates.push(EncodedUpdate::new(update));
    }

    /// How many updates there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// Has the numbers of all names looked up ([`super::Names::look_up`]), this many at once.
    pub fn look_up(&mut self, at_once: usize, mut look_up: impl FnMut(&[&str], &mut Hints)) {
        let names: Vec<&str> = self.updates.iter().flat_map(EncodedUpdate::names).collect();
        self.hints = Hints::default();
        for part in names.chunks(at_once.max(1)) {
            look_up(part, &mut self.hints);
        }
    }
}

impl EncodedUpdate {
    fn new(update: &Update) -> Self {
        let (client, kind, name, draft) = match update {
            Update::Put(draft) => (Client::Envoy, draft.kind, &draft.name, Some(draft)),
            Update::PutFor(client, draft) => (*client, draft.kind, &draft.name, Some(draft)),
            Update::Remove(kind, name) => (Client::Envoy, *kind, name, None),
            Update::RemoveFor(client, kind, name) => (*client, *kind, name, None),
        };
        Self {
            client,
            kind,
            name: name.clone(),
            put: draft.map(|draft| (Resource::new(draft, Box::default()), draft.needs.clone())),
        }
    }

    /// Its name, and what it needs.
    fn names(&self) -> impl Iterator<Item = &str> {
        let needs = self.put.iter().flat_map(|(_, needs)| needs);
        [&self.name].into_iter().chain(needs).map(|name| &**name)
    }

    /// How many that are.
    pub(super) fn names_len(&self) -> usize {
        1 + self.put.as_ref().map_or(0, |(_, needs)| needs.len())
    }
}
