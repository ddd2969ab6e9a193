//! A request whose costly parts are done before it is handled: its list of names is hashed, and their
//! numbers are looked up. A driver whose streams share the table of names does this in short holds of its lock,
//! so that one request with hundreds of thousands of names does not hold up the others.

use xxhash_rust::xxh3::Xxh3;

use super::hints::Hints;
use super::ids::NameId;
use super::request::{DeltaRequest, Node, SotwRequest};

/// A request of either variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Incremental.
    Delta(DeltaRequest),
    /// State of the world.
    Sotw(SotwRequest),
}

/// A request that is ready to be handled.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) request: Request,
    /// State of the world: of the list of names.
    pub(super) list_hash: Option<u128>,
    /// Of the names subscribed to, claimed and given up, in this order.
    pub(super) hints: Hints,
}

impl Request {
    /// The client, where the request carries it.
    #[must_use]
    pub const fn node(&self) -> Option<&Node> {
        match self {
            Self::Delta(request) => request.node.as_ref(),
            Self::Sotw(request) => request.node.as_ref(),
        }
    }

    /// How many names it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Delta(r) => r.subscribe.len() + r.initial_versions.len() + r.unsubscribe.len(),
            Self::Sotw(r) => r.names.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::Sotw(request) => &request.type_url,
        }
    }
}

impl Prepared {
    /// How many names it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.request.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has the numbers of its names looked up ([`super::Names::look_up`]), this many at once.
    pub fn look_up(&mut self, at_once: usize, look_up: impl FnMut(&[&str], &mut Hints)) {
        self.hints = hints(&self.request, at_once, look_up);
    }

    /// The numbers that its names were given by [`super::Names::look_up_and_keep`], and that are to be given back.
    #[must_use]
    pub fn kept(&self) -> Vec<NameId> {
        self.hints.kept().collect()
    }
}

impl Prepared {
    /// Requests that mean the same one after the other: names that were found in one, since those of a fleet are kept
    /// together, the others with this many names in each at most. Whole stays what claims resources, which counts in the
    /// first request of a type only, and a list of state of the world, which is the whole list.
    #[must_use]
    pub fn in_parts(mut self, at_most: usize) -> Vec<Self> {
        let Request::Delta(first) = &mut self.request else {
            return vec![self];
        };
        if !first.initial_versions.is_empty() {
            return vec![self];
        }
        let subscribe = std::mem::take(&mut first.subscribe);
        let unsubscribe = std::mem::take(&mut first.unsubscribe);
        let url = first.type_url.clone();
        let hints = std::mem::take(&mut self.hints);
        let before = subscribe.len();
        let (known, others): (Vec<_>, Vec<_>) =
            (subscribe.into_iter().enumerate()).partition(|(at, _)| hints.is_found(*at));
        let (places, known): (Vec<usize>, Vec<String>) = known.into_iter().unzip();
        first.subscribe = known;
        self.hints = hints.of(places);
        let part = |subscribe, unsubscribe, hints| Self {
            request: Request::Delta(DeltaRequest {
                type_url: url.clone(),
                subscribe,
                unsubscribe,
                ..DeltaRequest::default()
            }),
            list_hash: None,
            hints,
        };
        let mut parts = vec![self];
        for (places, names) in chunks(others, at_most) {
            parts.push(part(names, Vec::new(), hints.of(places)));
        }
        let unsubscribe = unsubscribe.into_iter().enumerate();
        for (places, names) in chunks(unsubscribe.map(|(at, name)| (before + at, name)), at_most) {
            parts.push(part(Vec::new(), names, hints.of(places)));
        }
        parts
    }
}

/// The places and the names of each part.
fn chunks(
    names: impl IntoIterator<Item = (usize, String)>,
    at_most: usize,
) -> impl Iterator<Item = (Vec<usize>, Vec<String>)> {
    let mut names = names.into_iter();
    std::iter::from_fn(move || {
        let part: (Vec<usize>, Vec<String>) = names.by_ref().take(at_most.max(1)).unzip();
        (!part.0.is_empty()).then_some(part)
    })
}

fn hints(request: &Request, at_once: usize, mut look_up: impl FnMut(&[&str], &mut Hints)) -> Hints {
    let names: Vec<&str> = match request {
        Request::Delta(r) => {
            let subscribed = r.subscribe.iter().map(String::as_str);
            subscribed
                .chain(r.initial_versions.iter().map(|claim| claim.name.as_str()))
                .chain(r.unsubscribe.iter().map(String::as_str))
                .collect()
        }
        Request::Sotw(r) => r.names.iter().map(String::as_str).collect(),
    };
    let mut hints = Hints::default();
    for part in names.chunks(at_once.max(1)) {
        look_up(part, &mut hints);
    }
    hints
}

impl From<Request> for Prepared {
    fn from(request: Request) -> Self {
        let list_hash = match &request {
            Request::Delta(_) => None,
            Request::Sotw(request) => Some(hash(&request.names)),
        };
        Self {
            request,
            list_hash,
            hints: Hints::default(),
        }
    }
}

impl From<DeltaRequest> for Prepared {
    fn from(request: DeltaRequest) -> Self {
        Request::Delta(request).into()
    }
}

impl From<SotwRequest> for Prepared {
    fn from(request: SotwRequest) -> Self {
        Request::Sotw(request).into()
    }
}

/// Of a list of names. A client that finds two lists with one hash deceives only itself.
fn hash(list: &[String]) -> u128 {
    let mut hasher = Xxh3::new();
    for name in list {
        hasher.update(&name.len().to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.digest128()
}
