//! One resource, encoded once for all streams, and the draft it is made from.

use std::sync::Arc;

use bytes::Bytes;

use super::kind::Kind;
use super::local::{By, Local, Locals};
use super::names::NameId;
use super::variant::Variant;
pub use super::version::Version;
use super::view::{Audience, Concern, Seen};
use super::viewer::Viewer;
use super::wire;

/// Who may see a resource, and whether a wildcard subscription holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All clients.
    All,
    /// Each client that names it; no wildcard holds it (what only gRPC clients understand).
    ByName,
    /// Only these fleets.
    Fleets(Arc<[Arc<str>]>),
    /// Clients without a view, and these views.
    Views(Arc<Audience>),
    /// The same, and each has to name it.
    NamedInViews(Arc<Audience>),
}

impl Reach {
    /// Whether this client may have it.
    #[must_use]
    pub fn admits(&self, viewer: &Viewer) -> bool {
        match self {
            Self::All | Self::ByName => true,
            Self::Fleets(fleets) => fleets.contains(&viewer.fleet),
            Self::Views(audience) | Self::NamedInViews(audience) => {
                let view = viewer.view.as_ref();
                view.is_none_or(|view| audience.admits(view, &viewer.fleet))
            }
        }
    }

    /// Whether `*` holds it.
    #[must_use]
    pub const fn in_wildcard(&self) -> bool {
        !matches!(self, Self::ByName | Self::NamedInViews(_))
    }

    /// Whether it depends on nothing but views.
    const fn is_for_views(&self) -> bool {
        matches!(self, Self::All | Self::Views(_))
    }

    /// The views that it is in; `None`: all.
    pub(super) const fn audience(&self) -> Option<&Arc<Audience>> {
        match self {
            Self::Views(audience) | Self::NamedInViews(audience) => Some(audience),
            Self::All | Self::ByName | Self::Fleets(_) => None,
        }
    }
}

/// A resource as a generator makes it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its type.
    pub kind: Kind,
    /// Its name, unique within the type.
    pub name: Arc<str>,
    /// The encoded message. Equal content must be equal bytes: no map with more than one entry.
    pub body: Vec<u8>,
    /// The resources it needs at the client: a cluster its endpoints (by EDS name), a route
    /// or listener its clusters.
    pub needs: Vec<Arc<str>>,
    /// Who may see it.
    pub reach: Reach,
    /// What clients get instead that say where they are; `None`: the same.
    pub local: Option<Arc<dyn Local>>,
}

/// A resource as streams share it.
#[derive(Debug)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// Of its content.
    pub version: Version,
    /// What it needs, by number; see [`Draft::needs`].
    pub needs: Box<[NameId]>,
    /// Who may see it.
    pub reach: Reach,
    locals: Option<Box<Locals<Self>>>,
    frame: Bytes,
    sotw: u32,
}

impl Resource {
    /// Encodes a draft, once for all streams.
    #[must_use]
    pub fn new(draft: &Draft, needs: Box<[NameId]>) -> Self {
        let version = Version::of(&draft.body);
        let make = draft.local.clone();
        Self {
            locals: make.map(|make| Box::new(Locals::new(make))),
            ..Self::encode(
                draft.kind,
                draft.name.clone(),
                version,
                &draft.body,
                needs,
                draft.reach.clone(),
            )
        }
    }

    /// The resource as this client gets it.
    pub(super) fn seen_by<'r>(this: &'r Arc<Self>, kind: Kind, viewer: &Viewer) -> &'r Arc<Self> {
        let locals = this.locals();
        let own = locals.and_then(|l| l.get(viewer, |body| Self::instead(this, kind, &body)));
        own.unwrap_or(this)
    }

    /// Another content of the same resource.
    fn instead(base: &Self, kind: Kind, body: &[u8]) -> Self {
        let (name, needs) = (base.name.clone(), base.needs.clone());
        Self::encode(kind, name, Version::of(body), body, needs, base.reach.clone())
    }

    /// Its contents by place, where they differ.
    pub(super) fn locals(&self) -> Option<&Locals<Self>> {
        self.locals.as_deref()
    }

    /// Whether it depends on where a client is.
    pub(super) fn is_by_place(&self) -> bool {
        self.locals()
            .is_some_and(|locals| locals.make().by() == By::Place)
    }

    /// Whether another one is the same for everybody.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let inputs = |resource: &Self| resource.locals().map(Locals::inputs);
        self.version == other.version && self.reach == other.reach && inputs(self) == inputs(other)
    }

    /// Whom it concerns that a resource is not what it was.
    pub(super) fn concern(old: Option<&Self>, new: Option<&Self>) -> Concern {
        let cut = |resource: &Self| {
            let make = resource.locals().map(Locals::make);
            make.and_then(Local::concerns)
        };
        let (Some(old), Some(new)) = (old, new) else {
            let one = old.or(new).and_then(|one| one.reach.audience().cloned());
            return Concern {
                others: true,
                views: vec![Seen::By(one)],
            };
        };
        let audience = |resource: &Self| resource.reach.audience().cloned();
        let inputs = |resource: &Self| resource.locals().map(Locals::inputs);
        let is_other = old.version != new.version || inputs(old) != inputs(new);
        match (cut(new), cut(old)) {
            (Some(views), Some(_)) if old.reach == new.reach => Concern {
                others: old.version != new.version,
                views: vec![Seen::By(Some(views))],
            },
            (Some(_), _) | (_, Some(_)) => Concern::all(),
            _ if is_other => Concern {
                others: true,
                views: vec![Seen::By(audience(old)), Seen::By(audience(new))],
            },
            _ if old.reach.is_for_views() && new.reach.is_for_views() => Concern {
                others: false,
                views: vec![Seen::ByOneOf(audience(old), audience(new))],
            },
            _ => Concern::all(),
        }
    }

    /// The resource by which Envoy learns that there is none of this name; see `removal.rs`.
    #[must_use]
    pub fn empty(kind: Kind, name: &Arc<str>) -> Self {
        let body = wire::only_name(name);
        Self::encode(
            kind,
            name.clone(),
            Version::of(&body),
            &body,
            Box::default(),
            Reach::All,
        )
    }

    fn encode(
        kind: Kind,
        name: Arc<str>,
        version: Version,
        body: &[u8],
        needs: Box<[NameId]>,
        reach: Reach,
    ) -> Self {
        let (frame, sotw) = wire::frames(&name, &version.to_string(), kind.type_url(), body);
        Self {
            name,
            version,
            needs,
            reach,
            locals: None,
            frame,
            sotw: u32::try_from(sotw).unwrap_or(u32::MAX),
        }
    }

    /// Tag, length and `Resource`, as in a `DeltaDiscoveryResponse`.
    #[must_use]
    pub fn delta_frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// Tag, length and `Any`, as in a `DiscoveryResponse`.
    #[must_use]
    pub fn sotw_frame(&self) -> Bytes {
        self.frame.slice(self.sotw as usize..)
    }

    /// The frame of this variant.
    #[must_use]
    pub fn frame(&self, variant: Variant) -> Bytes {
        match variant {
            Variant::Delta => self.delta_frame(),
            Variant::Sotw => self.sotw_frame(),
        }
    }

    /// The length of the larger frame, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Never: each resource has at least a type and a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// The encoded message itself, decoded from the frame (for dumps).
    ///
    /// # Errors
    /// Never for a frame made here; prost's error otherwise.
    pub fn body(&self) -> Result<Bytes, prost::DecodeError> {
        #[derive(prost::Message)]
        struct AnyField {
            #[prost(message, optional, tag = "2")]
            any: Option<AnyBody>,
        }
        #[derive(prost::Message)]
        struct AnyBody {
            #[prost(bytes = "bytes", tag = "2")]
            value: Bytes,
        }
        let field = <AnyField as prost::Message>::decode(self.sotw_frame())?;
        Ok(field.any.map(|a| a.value).unwrap_or_default())
    }
}
