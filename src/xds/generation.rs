//! One immutable state of all resources. The next one shares all that did not change.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::client::Client;
use super::kind::{Kind, PerKind};
use super::names::{NameId, Names};
use super::resource::{Draft, Reach, Resource};
use super::response::Missing;
use super::table::Table;
use super::update::{Encoded, EncodedUpdate, Update};
use super::variant::Variant;
use super::view::{Concern, View, ViewRules};
use super::viewer::Viewer;

/// The content that makes a client of gRPC stop using a resource which is gone, where removing it does not:
/// most of them keep what they hold. `None`: there is no such content.
pub type Gone = fn(Client, Kind, &str) -> Option<Vec<u8>>;

/// Why there is no resource of this type and name, in words for who asks for it.
pub type Why = fn(Kind, &str) -> String;

/// The names that a new generation changed, by type.
pub type Changed = PerKind<RoaringBitmap>;

/// All resources at one moment.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// Counts up with each one; means nothing across processes.
    pub number: u64,
    tables: PerKind<Table>,
    /// What gRPC's own clients get in place of the others' content, by [`Client::variant`].
    variants: [PerKind<Table>; Client::GRPC.len()],
    /// What they get in place of a resource that is gone.
    gone: Option<Gone>,
    /// What they learn of a name that there is no resource of.
    why: Option<Why>,
    /// What a name held before its present content, where that is kept; see [`Generation::keeping`].
    previous: Option<PerKind<Table>>,
    /// Fleets that get something else than the present content of a name.
    stand_ins: Arc<StandIns>,
    /// How many contents depend on where a client is.
    locals: usize,
    /// Which fleets have which view.
    rules: Arc<ViewRules>,
    /// Whom the names that this generation changed concern, where that is not everybody.
    concerns: Arc<Concerns>,
}

type Concerns = HashMap<(Kind, NameId), Concern>;

/// Fleet, type and name → the content in place of the present one.
type StandIns = HashMap<(Arc<str>, Kind, NameId), Arc<Resource>>;

impl Generation {
    /// The generation after these updates, and what really changed. Equal content is no change.
    /// `names` follows: after this call, only the returned one and older ones of the same line may be used.
    #[must_use]
    pub fn next(&self, names: &mut Names, updates: &[Update]) -> (Self, Changed) {
        self.apply(names, Encoded::new(updates))
    }

    /// As [`Self::next`], with updates that were encoded before.
    #[must_use]
    pub fn apply(&self, names: &mut Names, encoded: Encoded) -> (Self, Changed) {
        let mut next = Self {
            number: self.number + 1,
            ..self.clone()
        };
        let mut changed = Changed::default();
        let mut concerns = Concerns::new();
        if let Some(rules) = encoded.rules {
            next.rules = rules;
        }
        let (hints, mut place) = (encoded.hints, 0);
        for update in encoded.updates {
            let at = place;
            place += update.names_len();
            let EncodedUpdate {
                client,
                kind,
                name,
                put,
            } = update;
            let id = if put.is_some() {
                names.publish_hinted(&name, hints.at(at))
            } else {
                match names.find_hinted(&name, hints.at(at)) {
                    Some(id) => id,
                    None => continue,
                }
            };
            let old = next.table(client, kind).get(id);
            let same = match (old, &put) {
                (Some(old), Some((new, _))) => old.is_same(new),
                (None, None) => true,
                _ => false,
            };
            if same {
                continue;
            }
            let resource = put.map(|(mut resource, needs)| {
                let needs = needs.iter().enumerate();
                let needs = needs.map(|(n, need)| names.publish_hinted(need, hints.at(at + 1 + n)));
                let mut needs: Vec<NameId> = needs.collect();
                needs.sort_unstable();
                needs.dedup();
                resource.needs = needs.into();
                Arc::new(resource)
            });
            if let Some(old) = old {
                let now: &[NameId] = resource.as_ref().map_or(&[][..], |new| &*new.needs);
                let dropped = old.needs.iter().filter(|need| now.binary_search(need).is_err());
                dropped.for_each(|need| names.gone(*need));
            }
            if resource.is_none() {
                names.gone(id);
            }
            let is_local = |resource: Option<&Arc<Resource>>| resource.is_some_and(|r| r.is_by_place());
            next.locals += usize::from(is_local(resource.as_ref()));
            next.locals -= usize::from(is_local(next.table(client, kind).get(id)));
            if client == Client::Envoy {
                next.keep(kind, id, resource.is_some(), names);
            }
            if !next.rules.is_empty() {
                let old = next.table(client, kind).get(id);
                let concern = Resource::concern(old.map(|old| &**old), resource.as_deref());
                match concerns.entry((kind, id)) {
                    Entry::Occupied(mut place) => {
                        let all = place.get_mut();
                        all.others |= concern.others;
                        all.views.extend(concern.views);
                    }
                    Entry::Vacant(place) => drop(place.insert(concern)),
                }
            }
            next.table_mut(client, kind).set(id, resource);
            changed.get_mut(kind).insert(id);
        }
        next.concerns = Arc::new(concerns);
        (next, changed)
    }

    /// The numbers of all names that a resource has or needs: what is not among them is not served.
    #[must_use]
    pub fn used(&self) -> RoaringBitmap {
        let variants = self.variants.iter().chain(&self.previous);
        let tables = variants.chain([&self.tables]).flat_map(PerKind::iter);
        let resources = tables.flat_map(|(_, table)| table.iter());
        let stand_ins = self
            .stand_ins
            .iter()
            .map(|((_, _, id), resource)| (*id, resource));
        let of = |(id, resource): (NameId, &Arc<Resource>)| {
            let mut used = resource.needs.to_vec();
            used.push(id);
            used
        };
        super::ids::set(resources.chain(stand_ins).flat_map(of).collect())
    }

    /// What these clients get in place of the others' content; Envoy: the content itself.
    fn table(&self, client: Client, kind: Kind) -> &Table {
        let tables = client.variant().and_then(|at| self.variants.get(at));
        tables.unwrap_or(&self.tables).get(kind)
    }

    fn table_mut(&mut self, client: Client, kind: Kind) -> &mut Table {
        let tables = client.variant().and_then(|at| self.variants.get_mut(at));
        tables.unwrap_or(&mut self.tables).get_mut(kind)
    }

    /// The same, and what gRPC's own clients get in place of a resource that is gone.
    #[must_use]
    pub fn with_gone(mut self, gone: Gone) -> Self {
        self.gone = Some(gone);
        self
    }

    /// The same, and what gRPC's own clients learn of a name that there is no resource of.
    #[must_use]
    pub fn with_reasons(mut self, why: Why) -> Self {
        self.why = Some(why);
        self
    }

    /// What a client learns of a name that it may not see, or that there is no resource of.
    pub(super) fn missing(&self, viewer: &Viewer, kind: Kind, id: NameId, name: Arc<str>) -> Missing {
        let hidden = self
            .get(kind, id)
            .is_some_and(|resource| !resource.reach.admits(viewer));
        let why = if hidden {
            format!(
                "{name} is there, and not in the view of the fleet `{}`",
                viewer.fleet
            )
        } else {
            self.why.map_or_else(String::new, |why| why(kind, &name))
        };
        Missing { name, why }
    }

    /// What this client, which may hold a resource that is gone, gets in its place; see [`Gone`].
    ///
    /// No content for a listener whose endpoints are gone, too, where the client stops by those: only they can
    /// carry the reason.
    pub(super) fn gone(&self, client: Client, kind: Kind, id: NameId, name: &Arc<str>) -> Option<Resource> {
        let by_endpoints =
            client == Client::GrpcDrops && kind == Kind::Listener && self.get(Kind::Endpoints, id).is_none();
        if client == Client::Envoy || by_endpoints {
            return None;
        }
        let body = (self.gone?)(client, kind, name)?;
        Some(Resource::new(
            &Draft {
                kind,
                name: name.clone(),
                body,
                needs: Vec::new(),
                reach: Reach::ByName,
                local: None,
            },
            Box::default(),
        ))
    }

    /// An empty generation whose successors keep what a name held before, so that a fleet
    /// which rejects the present content can be given the last one; see [`Self::stand_in`].
    #[must_use]
    pub fn keeping() -> Self {
        Self {
            previous: Some(PerKind::default()),
            ..Self::default()
        }
    }

    /// Keeps the present content of a name that is about to change. Content that some fleet
    /// rejected is not worth keeping: what stands in for it is.
    fn keep(&mut self, kind: Kind, id: NameId, stays: bool, names: &mut Names) {
        let Some(previous) = &mut self.previous else {
            return;
        };
        let rejected = self.stand_ins.keys().any(|(_, k, i)| (*k, *i) == (kind, id));
        if !rejected || !stays {
            let present = self.tables.get(kind).get(id).filter(|_| stays).cloned();
            let before = previous
                .get(kind)
                .get(id)
                .map_or(&[][..], |before| &*before.needs);
            for need in before {
                names.gone(*need);
            }
            previous.get_mut(kind).set(id, present);
        }
        if rejected {
            Arc::make_mut(&mut self.stand_ins).retain(|(_, k, i), _| (*k, *i) != (kind, id));
        }
    }

    /// From now on this fleet gets the content before the present one. `None`: there is none.
    #[must_use]
    pub fn stand_in(&self, fleet: &Arc<str>, kind: Kind, id: NameId) -> Option<Self> {
        let before = self.previous.as_ref()?.get(kind).get(id)?.clone();
        let mut next = Self {
            number: self.number + 1,
            ..self.clone()
        };
        Arc::make_mut(&mut next.stand_ins).insert((fleet.clone(), kind, id), before);
        Some(next)
    }

    /// This fleet gets the present content again. `None`: it does already.
    #[must_use]
    pub fn stand_down(&self, fleet: &Arc<str>, kind: Kind, id: NameId) -> Option<Self> {
        let key = (fleet.clone(), kind, id);
        self.stand_ins.contains_key(&key).then(|| {
            let mut next = Self {
                number: self.number + 1,
                ..self.clone()
            };
            Arc::make_mut(&mut next.stand_ins).remove(&key);
            next
        })
    }

    /// The same state, of one type alone. Shares all of it.
    pub(super) fn only(&self, kind: Kind) -> Self {
        let mut only = Self {
            number: self.number,
            stand_ins: self.stand_ins.clone(),
            ..Self::default()
        };
        only.tables.get_mut(kind).clone_from(self.tables.get(kind));
        for (mine, all) in only.variants.iter_mut().zip(&self.variants) {
            mine.get_mut(kind).clone_from(all.get(kind));
        }
        only
    }

    /// One resource as this client of this fleet gets it.
    #[must_use]
    pub fn get_for(&self, viewer: &Viewer, kind: Kind, id: NameId) -> Option<&Arc<Resource>> {
        let (present, is_own) = self.content(viewer.client, kind, id)?;
        let given = if is_own || self.stand_ins.is_empty() {
            present
        } else {
            let stand_in = self.stand_ins.get(&(viewer.fleet.clone(), kind, id));
            stand_in.unwrap_or(present)
        };
        Some(Resource::seen_by(given, kind, viewer))
    }

    /// One resource, whatever this client's fleet gets in place of its present content.
    #[must_use]
    pub fn get_as(&self, viewer: &Viewer, kind: Kind, id: NameId) -> Option<&Arc<Resource>> {
        let (present, _) = self.content(viewer.client, kind, id)?;
        Some(Resource::seen_by(present, kind, viewer))
    }

    /// What such a client gets wherever it is, and whether that is not what Envoy gets.
    fn content(&self, client: Client, kind: Kind, id: NameId) -> Option<(&Arc<Resource>, bool)> {
        let present = self.get(kind, id)?;
        let own = client.variant().and_then(|_| self.table(client, kind).get(id));
        Some((own.unwrap_or(present), own.is_some()))
    }

    /// Which fleets have which view.
    #[must_use]
    pub const fn rules(&self) -> &Arc<ViewRules> {
        &self.rules
    }

    /// Of the names of a type that this generation changed, those that concern clients of a fleet with this view.
    #[must_use]
    pub fn concerning(
        &self,
        kind: Kind,
        names: &RoaringBitmap,
        view: Option<&View>,
        fleet: &str,
    ) -> RoaringBitmap {
        let concerns = |id: &NameId| {
            let concern = self.concerns.get(&(kind, *id));
            concern.is_none_or(|concern| concern.is_for(view, fleet))
        };
        names.iter().filter(concerns).collect()
    }

    /// Whether some resource depends on where a client is.
    #[must_use]
    pub const fn has_locals(&self) -> bool {
        self.locals > 0
    }

    /// One resource as Envoy gets it, and each client that has no variant of it.
    #[must_use]
    pub fn get(&self, kind: Kind, id: NameId) -> Option<&Arc<Resource>> {
        self.tables.get(kind).get(id)
    }

    /// The frames of these resources (in the order of their numbers) in as few pieces as may be:
    /// where all neighbours are sent, one piece that all streams share.
    pub(super) fn pieces(
        &self,
        kind: Kind,
        variant: Variant,
        resources: &[(NameId, Arc<Resource>)],
    ) -> Vec<Bytes> {
        self.tables.get(kind).pieces(variant, resources)
    }

    /// All resources of a type, in the order of their numbers.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (NameId, &Arc<Resource>)> {
        self.tables.get(kind).iter()
    }

    /// Everything of a type that `*` holds and a client of this fleet may see.
    pub(super) fn in_wildcard(&self, kind: Kind, viewer: &Viewer) -> RoaringBitmap {
        self.tables.get(kind).in_wildcard(viewer)
    }

    /// How many resources of a type there are.
    #[must_use]
    pub fn len(&self, kind: Kind) -> usize {
        self.tables.get(kind).len()
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.len(kind) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str, body: &[u8]) -> Update {
        Update::Put(Draft {
            kind: Kind::Cluster,
            name: name.into(),
            body: body.to_vec(),
            needs: Vec::new(),
            reach: Reach::All,
            local: None,
        })
    }

    #[test]
    fn equal_content_is_no_change_and_old_generations_stay() {
        let mut names = Names::default();
        let empty = Generation::default();
        let (one, changed) = empty.next(&mut names, &[put("a", b"1"), put("b", b"1")]);
        assert_eq!(changed.get(Kind::Cluster).len(), 2);
        let (two, changed) = one.next(&mut names, &[put("a", b"1"), put("b", b"2")]);
        assert_eq!(changed.get(Kind::Cluster).len(), 1);
        let (three, _) = two.next(&mut names, &[Update::Remove(Kind::Cluster, "a".into())]);
        assert_eq!((one.len(Kind::Cluster), three.len(Kind::Cluster)), (2, 1));
        assert_eq!(three.all(Kind::Cluster).count(), 1);
        let b = names.find("b").unwrap();
        assert_ne!(
            one.get(Kind::Cluster, b).unwrap().version,
            two.get(Kind::Cluster, b).unwrap().version
        );
    }
}
