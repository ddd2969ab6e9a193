//! `[[overlay]]`: what an operator lays over a message of ours. Pure.

/// What it is laid over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlaid {
    /// A cluster of a service.
    Cluster,
    /// A listener.
    Listener,
}

/// Fields of Envoy's message of a resource, by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Of which type the resource is.
    pub of: Overlaid,
    /// Its name, or how names begin, `orders*`.
    pub name: String,
    /// An object, merged into the message's JSON by RFC 7396.
    pub json: String,
}
