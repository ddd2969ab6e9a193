//! How a client learns that a resource is gone, as data: rules 33 to 36.
//!
//! Measured on Envoy 1.40: it ignores the removal of endpoints, and keeps a new listener warming
//! for 20 s when the route configuration it waits for is in `removed_resources`. An empty resource
//! works for both. gRPC's own clients understand removals, and take an empty resource for a real one.

use super::client::Client;
use super::kind::Kind;
use super::variant::Variant;

/// What is sent for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// A resource that holds just its name.
    Empty,
    /// The name in `removed_resources`.
    Removed,
    /// The name in `resource_errors`, as `NOT_FOUND`; Envoy ignores it.
    Missing,
}

/// One row; `None` matches all.
struct Rule {
    kind: Option<Kind>,
    envoy: Option<bool>,
    variant: Option<Variant>,
    /// Whether the client may hold the resource, or only named it.
    held: Option<bool>,
    sent: Removal,
}

const fn rule(
    kind: Option<Kind>,
    envoy: Option<bool>,
    variant: Option<Variant>,
    held: Option<bool>,
    sent: Removal,
) -> Rule {
    Rule {
        kind,
        envoy,
        variant,
        held,
        sent,
    }
}

const ENDPOINTS: Option<Kind> = Some(Kind::Endpoints);
const ROUTE: Option<Kind> = Some(Kind::Route);
const ENVOY: Option<bool> = Some(true);
const GRPC: Option<bool> = Some(false);
const DELTA: Option<Variant> = Some(Variant::Delta);
const SOTW: Option<Variant> = Some(Variant::Sotw);
const HELD: Option<bool> = Some(true);

/// The first row that matches decides.
const RULES: [Rule; 6] = [
    // kind       client variant held  sent
    rule(ENDPOINTS, ENVOY, None, HELD, Removal::Empty), // 36
    rule(ENDPOINTS, ENVOY, SOTW, None, Removal::Empty), // 35: nothing else says so in this variant
    rule(ENDPOINTS, GRPC, SOTW, HELD, Removal::Empty),  // the client keeps what is only missing
    rule(ROUTE, ENVOY, None, None, Removal::Empty),     // 34
    rule(None, None, DELTA, None, Removal::Removed),    // 33
    rule(None, None, SOTW, None, Removal::Missing),     // 35
];

impl Removal {
    /// What this client is sent for a name of this type that is gone, or never was.
    pub(super) fn of(kind: Kind, client: Client, variant: Variant, held: bool) -> Self {
        let envoy = client == Client::Envoy;
        RULES
            .iter()
            .find(|rule| {
                rule.kind.is_none_or(|k| k == kind)
                    && rule.envoy.is_none_or(|e| e == envoy)
                    && rule.variant.is_none_or(|v| v == variant)
                    && rule.held.is_none_or(|h| h == held)
            })
            .map_or(Self::Removed, |rule| rule.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_row_and_empty_resources_are_for_types_that_have_them() {
        let mut empty = Vec::new();
        for kind in Kind::ALL {
            for client in [Client::Envoy, Client::Grpc] {
                for variant in [Variant::Delta, Variant::Sotw] {
                    for held in [true, false] {
                        match Removal::of(kind, client, variant, held) {
                            Removal::Empty => empty.push((kind.short(), client, variant, held)),
                            Removal::Removed => assert_eq!(variant, Variant::Delta),
                            Removal::Missing => assert_eq!(variant, Variant::Sotw),
                        }
                    }
                }
            }
        }
        let (envoy, grpc) = (Client::Envoy, Client::Grpc);
        let (delta, sotw) = (Variant::Delta, Variant::Sotw);
        assert_eq!(
            empty,
            [
                ("eds", envoy, delta, true),
                ("eds", envoy, sotw, true),
                ("eds", envoy, sotw, false),
                ("eds", grpc, sotw, true),
                ("rds", envoy, delta, true),
                ("rds", envoy, delta, false),
                ("rds", envoy, sotw, true),
                ("rds", envoy, sotw, false),
            ]
        );
    }
}
