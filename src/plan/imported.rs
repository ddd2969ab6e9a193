//! Claims that are made of what was declared for another program, among themselves and beside our own. There the
//! highest priority is served first, whatever the host; here it may take nothing from a route of our own that says
//! more. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::claims::Claim;
use crate::model::{Code, Issue, Paths};

/// Of claims on the same requests, some of them imported, which are those between which it is decided.
pub(super) fn foremost(rivals: &[&Claim]) -> Vec<bool> {
    let own: Vec<&Claim> = rivals
        .iter()
        .copied()
        .filter(|rival| rival.imported.is_none())
        .collect();
    if own.is_empty() {
        // The other program would have served the highest priority, and what names the host before what does not.
        let place = |claim: &Claim| (claim.priority, !claim.wider);
        let first = rivals.iter().map(|rival| place(rival)).max();
        return rivals.iter().map(|rival| Some(place(rival)) == first).collect();
    }
    // A priority that is imported counts among imported claims alone, and a service's own keys are stronger.
    let stays = |claim: &Claim| {
        claim.imported.is_none() || (!claim.wider && own.iter().all(|other| other.cluster != claim.cluster))
    };
    rivals.iter().map(|rival| stays(rival)).collect()
}

/// Where a claim stands on its host, the least first: by its priority, what names the host, its paths, and how much
/// else it asks for.
pub(super) type Place = (Reverse<i32>, bool, usize, Reverse<usize>);

/// The places of the claims of a host, of which some are imported. `claims`: the most specific first. `counts`: whether
/// the priority of one of our own does.
pub(super) fn places(claims: &[&Claim], counts: impl Fn(&Claim) -> bool) -> Vec<Place> {
    let mut first: BTreeMap<Paths, usize> = BTreeMap::new();
    let place = |((at, claim), priority): ((usize, &&Claim), i32)| {
        if claim.imported.is_none() {
            return (Reverse(priority), claim.wider, at, Reverse(0));
        }
        let paths = *first.entry(claim.matcher.paths()).or_insert(at);
        (
            Reverse(priority),
            claim.wider,
            paths,
            Reverse(claim.criteria.len()),
        )
    };
    let priorities = priorities(claims, counts);
    claims.iter().enumerate().zip(priorities).map(place).collect()
}

fn priorities(claims: &[&Claim], counts: impl Fn(&Claim) -> bool) -> Vec<i32> {
    let wider = claims.iter().filter(|claim| claim.wider);
    // Above what is imported for wider hosts, or says less.
    let mut above = wider.map(|claim| beyond(claim)).max().unwrap_or(i32::MIN);
    let mut places = Vec::with_capacity(claims.len());
    for claim in claims.iter().rev() {
        if claim.imported.is_some() {
            above = above.max(beyond(claim));
            places.push(claim.priority);
        } else if counts(claim) && claim.priority != 0 {
            places.push(claim.priority.max(above));
        } else {
            places.push(length(claim).max(above));
        }
    }
    places.reverse();
    places
}

/// How many claims before it one is compared with.
const NEAR: usize = 16;

/// A sentence for each claim, `claims` in the order in which they are served, that takes some of the requests of one
/// with the same priority: Traefik chooses between the two by chance, after each update.
pub(super) fn ties(host: &str, claims: &[&Claim]) -> Vec<Issue> {
    let mut issues = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let before = claims[at.saturating_sub(NEAR)..at].iter().rev();
        let mut same = before.take_while(|other| other.priority == claim.priority);
        let Some(other) = same.find(|other| is_drawn(other, claim)) else {
            continue;
        };
        let reason = format!(
            "route: {} on host `{host}` has the priority {}, as {} of `{}`, which comes first here; Traefik chooses \
             between them by chance: give them different priorities",
            claim.matcher.describe(),
            claim.priority,
            other.matcher.describe(),
            other.cluster
        );
        issues.push(Issue::warning(&*claim.cluster, reason).of_kind(Code::RouteContested));
    }
    issues
}

fn is_drawn(a: &Claim, b: &Claim) -> bool {
    let of_traefik = |claim: &Claim| claim.imported == Some("traefik");
    let same = a.cluster == b.cluster && a.version == b.version;
    if !of_traefik(a) || !of_traefik(b) || same || (a.wider && b.wider) {
        return false;
    }
    let holds = |all: &Claim, some: &Claim| all.criteria.iter().all(|one| some.criteria.contains(one));
    let (paths, others) = (a.matcher.paths(), b.matcher.paths());
    (paths.hold(&others) || others.hold(&paths)) && (holds(a, b) || holds(b, a))
}

const fn beyond(claim: &Claim) -> i32 {
    claim.priority.saturating_add(1)
}

/// The priority that one of our own would have if it were declared for Traefik, where the longer rule comes first.
fn length(claim: &Claim) -> i32 {
    let host = if claim.host == "*" {
        0
    } else {
        claim.host.len() + 8
    };
    let paths = match claim.matcher.paths() {
        Paths::Segments(path) | Paths::Characters(path) if path == "/" => 0,
        paths => paths.text().len() + 18,
    };
    i32::try_from(host + paths + 30 * claim.criteria.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "imported_tests.rs"]
pub(super) mod tests;
