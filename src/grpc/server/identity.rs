//! Who a client certificate is, and which node it may claim to be. Pure matching: never
//! reads a file, never trusts a name that a certificate of the client CA does not carry.

use std::fmt;

/// A node id or fleet longer than this fits no rule: what a client sends is not bounded by itself.
const LONGEST: usize = 1_024;

/// A name in a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::grpc) enum San {
    /// A DNS name.
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

/// The names of a certificate (DER); none when it cannot be read.
pub(in crate::grpc) fn sans(certificate: &rustls::pki_types::CertificateDer<'_>) -> Vec<San> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    // A wildcard stands for hosts that a server may be; nobody is one.
    let dns = parsed.valid_dns_names().filter(|name| !name.contains('*'));
    let dns = dns.map(|name| San::Dns(name.to_ascii_lowercase()));
    dns.chain(parsed.valid_uri_names().map(|uri| San::Uri(uri.to_owned())))
        .collect()
}

/// What a certificate with such a name may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    san: San,
    node_ids: Vec<String>,
    fleets: Vec<String>,
}

impl Rule {
    /// `san` is `dns:` and a name, or a URI. In all three `*` stands for one character or
    /// more: in a DNS name not for dots, in a URI not for slashes unless it is the end.
    #[must_use]
    pub fn new(san: &str, node_ids: Vec<String>, fleets: Vec<String>) -> Self {
        let san = match san.strip_prefix("dns:") {
            Some(name) => San::Dns(name.to_ascii_lowercase()),
            None => San::Uri(san.to_owned()),
        };
        Self {
            san,
            node_ids,
            fleets,
        }
    }

    fn is_for(&self, san: &San) -> bool {
        match (&self.san, san) {
            (San::Dns(pattern), San::Dns(name)) => like(pattern, name, Star::Within(b'.')),
            (San::Uri(pattern), San::Uri(uri)) => like(pattern, uri, Star::WithinUnlessLast(b'/')),
            _ => false,
        }
    }
}

/// Why a client may not be what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::grpc) enum Denied {
    /// The certificate is nobody's.
    #[error("no rule in xds.clients is for this certificate")]
    NoRule,
    /// It is somebody else's.
    #[error("the rules for this certificate do not allow this node id and fleet")]
    Claim,
}

/// May a client with these names be this node? The id and the fleet must be allowed by one
/// and the same rule. Without rules anybody may.
pub(in crate::grpc) fn check(rules: &[Rule], sans: &[San], id: &str, fleet: &str) -> Result<(), Denied> {
    if rules.is_empty() {
        return Ok(());
    }
    let mut denied = Denied::NoRule;
    for rule in rules
        .iter()
        .filter(|rule| sans.iter().any(|san| rule.is_for(san)))
    {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|p| like(p, text, Star::Free));
        if any(&rule.node_ids, id) && any(&rule.fleets, fleet) {
            return Ok(());
        }
        denied = Denied::Claim;
    }
    Err(denied)
}

/// What a `*` may stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Star {
    Free,
    Within(u8),
    WithinUnlessLast(u8),
}

/// Row by row, so that no pattern takes more than its length times that of the text.
fn like(pattern: &str, text: &str, star: Star) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for (at, wanted) in pattern.iter().enumerate() {
        let mut next = vec![false; text.len() + 1];
        for (end, byte) in text.iter().enumerate() {
            next[end + 1] = if *wanted == b'*' {
                let may = match star {
                    Star::Free => true,
                    Star::Within(stop) => *byte != stop,
                    Star::WithinUnlessLast(stop) => *byte != stop || at + 1 == pattern.len(),
                };
                may && (row[end] || next[end])
            } else {
                row[end] && wanted == byte
            };
        }
        row = next;
    }
    row[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(san: &str) -> Rule {
        Rule::new(san, vec!["edge-*".into()], vec!["edge".into()])
    }

    #[test]
    fn names_are_matched() {
        let uri = |text: &str| San::Uri(text.into());
        let dns = |text: &str| San::Dns(text.into());
        for (pattern, san, wanted) in [
            ("spiffe://shop/ns/*", uri("spiffe://shop/ns/edge/sa/envoy"), true),
            ("spiffe://shop/ns/*", uri("spiffe://shop/ns/"), false),
            (
                "spiffe://shop/ns/*/sa/envoy",
                uri("spiffe://shop/ns/edge/sa/envoy"),
                true,
            ),
            (
                "spiffe://shop/ns/*/sa/envoy",
                uri("spiffe://shop/ns/a/b/sa/envoy"),
                false,
            ),
            (
                "spiffe://shop/ns/*/sa/envoy",
                uri("spiffe://shop/ns//sa/envoy"),
                false,
            ),
            ("spiffe://shop/*", uri("spiffe://shop2/edge"), false),
            ("spiffe://shop/edge", dns("spiffe://shop/edge"), false),
            ("dns:edge-*.example", dns("edge-1.example"), true),
            ("dns:Edge-*.example", dns("edge-1.example"), true),
            ("dns:edge-*.example", dns("edge-1.evil.example"), false),
            ("dns:*", dns("evil.example"), false),
            ("dns:edge.example", uri("edge.example"), false),
        ] {
            assert_eq!(rule(pattern).is_for(&san), wanted, "{pattern} {san}");
        }
    }

    #[test]
    fn one_rule_must_allow_both_claims() {
        let mut rules = vec![rule("dns:a.example")];
        rules.push(Rule::new(
            "dns:a.example",
            vec!["core-1".into()],
            vec!["core".into()],
        ));
        let a = [San::Dns("a.example".into())];
        assert_eq!(check(&rules, &a, "edge-7", "edge"), Ok(()));
        assert_eq!(check(&rules, &a, "core-1", "core"), Ok(()));
        assert_eq!(check(&rules, &a, "edge-7", "core"), Err(Denied::Claim));
        assert_eq!(check(&rules, &a, "edge-", "edge"), Err(Denied::Claim));
        assert_eq!(check(&rules, &[], "edge-7", "edge"), Err(Denied::NoRule));
        assert_eq!(check(&[], &[], "x", "y"), Ok(()));
        let long = format!("edge-{}", "x".repeat(LONGEST));
        assert_eq!(check(&rules, &a, &long, "edge"), Err(Denied::Claim));
    }
}
