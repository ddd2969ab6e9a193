//! Which claims of an exposure count: of several services that claim the same requests one has them. Pure.
//!
//! In this order: what `exposures.NAME.owners` says; whose own host it is; a policy document before what
//! instances declare; who has the requests already; who was registered first; the name that sorts first. A service whose
//! routes are kept ([`Claim::kept`]) has no instances: it keeps requests from wider routes for as long as they
//! are kept, and from another claim of exactly the same requests until its time, but for one that stood before
//! its last instance left: that one has them in the meantime.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::claims::{Claim, Relation};
use super::imported;
use crate::model::{Code, Criterion, Holder, Holders, Issue, Paths, Requests, Seniority};

/// What decides beside the claims themselves.
pub struct Contest<'a> {
    /// Who has what now.
    pub holders: &'a Holders,
    /// The time, as [`Claim::kept`] counts it.
    pub now: Duration,
    /// How long a service has been registered.
    pub seniority: &'a dyn Fn(&str) -> Seniority,
}

impl Contest<'static> {
    /// Nobody has anything yet.
    pub const FRESH: Self = Self {
        holders: &Holders::new(),
        now: Duration::ZERO,
        seniority: &|_| Seniority::LAST,
    };
}

/// The outcome.
#[derive(Debug, Default)]
pub struct Decided<'a> {
    /// Those that count, by host, the most specific first.
    pub claims: Vec<&'a Claim>,
    /// For the services whose claims do not.
    pub issues: Vec<Issue>,
    /// Who has what from now on.
    pub holders: Holders,
}

/// A claim and its paths.
#[derive(Clone)]
struct Wish<'a> {
    paths: Paths,
    /// [`Paths::certain`]: an expression is parsed for it.
    certain: usize,
    claim: &'a Claim,
}

/// Decides between all claims of one exposure.
#[must_use]
pub fn decide<'a>(claims: &[&'a Claim], contest: &Contest<'_>) -> Decided<'a> {
    let mut hosts: BTreeMap<&str, Vec<Wish<'a>>> = BTreeMap::new();
    for claim in claims.iter().copied() {
        let paths = claim.matcher.paths();
        hosts.entry(&claim.host).or_default().push(Wish {
            certain: paths.certain(),
            paths,
            claim,
        });
    }
    let mut decided = Decided::default();
    for (host, mut wishes) in hosts {
        only_the_owner(host, &mut wishes, &mut decided.issues);
        wishes.sort_by(|a, b| specificity(a).cmp(&specificity(b)));
        let same = |a: &Wish<'_>, b: &Wish<'_>| a.paths == b.paths && a.claim.criteria == b.claim.criteria;
        let begin = decided.claims.len();
        for rivals in wishes.chunk_by(same) {
            if rivals.len() > 1 && rivals.iter().any(|rival| rival.claim.imported.is_some()) {
                let all: Vec<&Claim> = rivals.iter().map(|rival| rival.claim).collect();
                let stays = rivals
                    .iter()
                    .zip(imported::foremost(&all))
                    .filter(|(_, stays)| *stays);
                let rivals: Vec<Wish<'_>> = stays.map(|(rival, _)| rival.clone()).collect();
                one(host, &rivals, contest, &mut decided);
            } else {
                one(host, rivals, contest, &mut decided);
            }
        }
        by_priority(host, &mut decided, begin);
    }
    decided
}

/// Takes out the claims on the host of another service. While that one is only kept, its own requests may be
/// claimed, and nothing below them.
fn only_the_owner(host: &str, wishes: &mut Vec<Wish<'_>>, issues: &mut Vec<Issue>) {
    let related = wishes.iter().map(|wish| wish.claim);
    let related = related.filter(|c| matches!(c.relation, Relation::Own | Relation::Namesake));
    let Some(owner) = related.min_by_key(|c| (c.relation, &c.cluster)) else {
        return;
    };
    let of_the_kept: Vec<(Paths, Vec<Criterion>)> = wishes
        .iter()
        .filter(|wish| owner.kept.is_some() && wish.claim.cluster == owner.cluster)
        .map(|wish| (wish.paths.clone(), wish.claim.criteria.clone()))
        .collect();
    wishes.retain(|wish| {
        let claim = wish.claim;
        let same =
            |(paths, criteria): &(Paths, Vec<Criterion>)| *paths == wish.paths && *criteria == claim.criteria;
        let allowed = claim.cluster == owner.cluster
            || claim.relation == Relation::Given
            || of_the_kept.iter().any(same);
        if !allowed && claim.kept.is_none() && !claim.wider {
            issues.push(not_the_owner(host, claim, &owner.cluster));
        }
        allowed
    });
}

fn not_the_owner(host: &str, claim: &Claim, owner: &str) -> Issue {
    let reason = if claim.relation == Relation::Namesake {
        format!(
            "the names `{}` and `{owner}` differ by case only, which hosts do not: host `{host}` is that of `{owner}`",
            claim.cluster
        )
    } else {
        format!(
            "route: host `{host}` is that of the service `{owner}`, and {} may not be claimed there \
             ([exposures.{}.owners] in bridge.toml can allow it); this route is left out",
            claim.matcher.describe(),
            claim.exposure
        )
    };
    Issue::warning(&*claim.cluster, reason).of_kind(Code::HostOwned)
}

fn specificity<'a>(wish: &'a Wish<'_>) -> impl Ord + use<'a> {
    let claim = wish.claim;
    order(
        (&wish.paths, wish.certain),
        &claim.criteria,
        claim.documented || claim.relation != Relation::Other,
    )
}

/// Most specific first, before priorities: Envoy takes the first route that matches. `trusted`: the claim is not one
/// of instances alone on a host that others use, too. `certain`: [`Paths::certain`].
pub fn order<'a>(
    (paths, certain): (&'a Paths, usize),
    criteria: &'a [Criterion],
    trusted: bool,
) -> impl Ord + use<'a> {
    let kind = match paths {
        Paths::Exactly(_) => 0,
        Paths::Segments(_) => 1,
        Paths::Characters(_) => 2,
        // It may be no narrower than the others: `/orders.*` holds all of `/orders`.
        Paths::Pattern(_) => 3,
    };
    let narrowing = criteria.iter().filter(|criterion| narrows(criterion, trusted));
    (
        Reverse((matches!(paths, Paths::Exactly(_)), certain)),
        kind,
        Reverse(narrowing.count()),
        paths,
        criteria,
    )
}

/// Whether a criterion puts a route before others of the same paths. What nearly each request fulfils would let a
/// newcomer take the requests of all that say less.
fn narrows(criterion: &Criterion, trusted: bool) -> bool {
    match criterion {
        Criterion::Header { not, .. } => trusted || !not,
        Criterion::Method { names, not } => trusted || (!not && names.len() <= 2),
        Criterion::Authority { .. } | Criterion::Url { .. } => trusted,
        Criterion::Query { .. } | Criterion::Cookie { .. } => true,
    }
}

/// Puts the routes of a host in the order of their priorities. One that an instance declares on a host that others
/// use, too, does not count: it would take their narrower routes from them.
fn by_priority(host: &str, decided: &mut Decided<'_>, begin: usize) {
    let claims = &mut decided.claims[begin..];
    let has_imported = claims.iter().any(|claim| claim.imported.is_some());
    if claims.iter().all(|claim| claim.priority == 0) && !has_imported {
        return;
    }
    let first = claims.first().map(|claim| claim.cluster.clone());
    let alone = claims.iter().all(|claim| Some(&claim.cluster) == first.as_ref());
    let counts = |claim: &Claim| {
        alone || claim.imported.is_some() || claim.documented || claim.relation != Relation::Other
    };
    for claim in claims
        .iter()
        .filter(|claim| claim.priority != 0 && !counts(claim))
    {
        let reason = format!(
            "route: priority={} of {} has no effect: other services have routes on host `{host}`, too; a policy \
             document of `{}` with this route, or [exposures.{}.owners] in bridge.toml, lets it count",
            claim.priority,
            claim.matcher.describe(),
            claim.cluster,
            claim.exposure
        );
        decided
            .issues
            .push(Issue::warning(&*claim.cluster, reason).of_kind(Code::PriorityIgnored));
    }
    if !has_imported {
        claims.sort_by_key(|claim| Reverse(if counts(claim) { claim.priority } else { 0 }));
        return;
    }
    let places = imported::places(claims, counts).into_iter();
    let mut order: Vec<(imported::Place, &Claim)> = places.zip(claims.iter().copied()).collect();
    order.sort_by_key(|(place, _)| *place);
    for (slot, (_, claim)) in claims.iter_mut().zip(order) {
        *slot = claim;
    }
    decided.issues.extend(imported::ties(host, claims));
}

/// Of one service's claims on the same requests, the one that says more than its bare name does.
fn detail(claim: &Claim) -> impl Ord + use<> {
    let action = &claim.action;
    (
        claim.relation,
        // What is for one version alone comes after what is for all.
        claim.version.is_some(),
        (!action.timeout.declared, action.timeout),
        (!action.stream_idle_timeout.declared, action.stream_idle_timeout),
        action.extras.is_none(),
        action.retry.is_none(),
        (claim.criteria.is_empty(), Reverse(claim.priority)),
    )
}

/// Decides between claims on the same requests.
fn one<'a>(host: &str, rivals: &[Wish<'a>], contest: &Contest<'_>, decided: &mut Decided<'a>) {
    let Some(Wish {
        paths, claim: first, ..
    }) = rivals.first()
    else {
        return;
    };
    let alone = rivals.iter().all(|rival| rival.claim.cluster == first.cluster);
    if alone && matches!(first.relation, Relation::Own | Relation::Namesake) {
        let claim = rivals.iter().map(|r| r.claim).min_by_key(|c| detail(c));
        if let Some(claim) = claim {
            decided.claims.push(claim);
            decided.issues.extend(of_other_versions(host, rivals, claim));
        }
        return;
    }
    let requests = Requests {
        host: host.to_owned(),
        paths: paths.clone(),
        criteria: first.criteria.clone(),
    };
    let before = contest.holders.get(&requests);
    let winner = winner(rivals, before, contest);
    decided.claims.push(winner);
    decided.issues.extend(of_other_versions(host, rivals, winner));
    // The last instance of the holder may only be on its way to a restart: until its time is over, others have its
    // requests only for the meantime, and who claims them in that time comes after who did before.
    let absent = before.filter(|holder| {
        let is_it = |rival: &&Wish<'_>| rival.claim.cluster == holder.service;
        let waits = |rival: &Wish<'_>| rival.claim.kept.is_some_and(|from| contest.now < from);
        rivals.iter().find(is_it).is_some_and(waits)
            && (winner.cluster == holder.service || !outranks(winner, rivals, &holder.service))
    });
    let losers: BTreeSet<&Claim> = rivals
        .iter()
        .map(|rival| rival.claim)
        .filter(|claim| claim.cluster != winner.cluster && claim.kept.is_none())
        .collect();
    let mut named = BTreeSet::new();
    for loser in losers.iter().filter(|loser| named.insert(&loser.cluster)) {
        decided.issues.push(lost(host, loser, winner));
    }
    let others = || match before.filter(|holder| holder.service == winner.cluster) {
        // Who came after its last instance left did not claim this before.
        Some(holder) if winner.kept.is_some() => holder.others.clone(),
        None if winner.kept.is_some() => Vec::new(),
        _ => named.iter().map(|name| (*name).clone()).collect(),
    };
    let holder = absent.cloned().unwrap_or_else(|| Holder {
        service: winner.cluster.clone(),
        others: others(),
    });
    decided.holders.insert(requests, holder);
}

/// A sentence for each version of the winner's service that wants the same requests for itself.
fn of_other_versions<'a>(
    host: &'a str,
    rivals: &'a [Wish<'_>],
    winner: &'a Claim,
) -> impl Iterator<Item = Issue> + use<'a> {
    let rivals = rivals.iter().map(|rival| rival.claim);
    let others = rivals.filter(|c| c.cluster == winner.cluster && c.version != winner.version);
    others.filter_map(move |claim| {
        let version = claim.version.as_ref()?;
        let reason = format!(
            "route: {} on host `{host}` is declared for the version `{version}` and for others, which have it; declare \
             other requests, or another priority, for one of them",
            claim.requests()
        );
        Some(Issue::warning(&*claim.cluster, reason))
    })
}

/// Whether a claim comes before that of another service whatever was before.
fn outranks(claim: &Claim, rivals: &[Wish<'_>], other: &Arc<str>) -> bool {
    let of_other = rivals.iter().map(|r| r.claim).find(|c| c.cluster == *other);
    of_other.is_none_or(|other| word(claim) < word(other))
}

/// What the operator, the host and a policy document say.
const fn word(claim: &Claim) -> (Relation, bool) {
    (claim.relation, !claim.documented)
}

fn winner<'a>(rivals: &[Wish<'a>], before: Option<&Holder>, contest: &Contest<'_>) -> &'a Claim {
    let claims = || rivals.iter().map(|rival| rival.claim);
    let holds = |claim: &Claim| before.is_some_and(|holder| holder.service == claim.cluster);
    let rank = |claim: &&Claim| {
        let seniority = (contest.seniority)(&claim.cluster);
        (
            word(claim),
            !holds(claim),
            seniority,
            claim.cluster.clone(),
            detail(claim),
        )
    };
    let kept = claims()
        .filter(|c| c.kept.is_some())
        .min_by_key(|c| (!holds(c), word(c), &c.cluster));
    let may = |claim: &&Claim| {
        claim.kept.is_none() && kept.is_none_or(|kept| gives_way(kept, claim, before, contest.now))
    };
    let best = claims().filter(may).min_by_key(rank);
    best.or_else(|| {
        claims()
            .filter(|c| kept.is_some_and(|k| k.cluster == c.cluster))
            .min_by_key(|c| detail(c))
    })
    .unwrap_or(rivals[0].claim)
}

/// Whether a service without instances leaves its requests to a claim of one with instances.
fn gives_way(kept: &Claim, claim: &Claim, before: Option<&Holder>, now: Duration) -> bool {
    let strength = |c: &Claim| (c.relation == Relation::Given, c.documented);
    let of_another = || before.is_some_and(|holder| holder.service != kept.cluster);
    let stood = || before.is_some_and(|holder| holder.others.contains(&claim.cluster));
    match strength(kept).cmp(&strength(claim)) {
        Ordering::Greater => false,
        Ordering::Less => true,
        Ordering::Equal => of_another() || stood() || kept.kept.is_none_or(|from| now >= from),
    }
}

/// For a service whose claim does not count: who has the requests, and how to change that.
fn lost(host: &str, claim: &Claim, winner: &Claim) -> Issue {
    let (what, name, exposure) = (claim.matcher.describe(), &claim.cluster, &claim.exposure);
    let place = match claim.matcher.paths() {
        Paths::Exactly(path) | Paths::Segments(path) => path,
        Paths::Characters(path) => format!("{path}*"),
        Paths::Pattern(pattern) => crate::model::pattern::beginning(&pattern) + "*",
    };
    let owners = format!("`\"{host}{place}\" = \"{name}\"` in [exposures.{exposure}.owners] of bridge.toml");
    let document = format!("a policy document of `{name}` with this route");
    let has = &winner.cluster;
    let (why, how) = match winner {
        Claim {
            relation: Relation::Given,
            ..
        } => ("to which bridge.toml gives it".to_owned(), owners),
        Claim {
            kept: Some(_),
            documented: false,
            ..
        } => (
            format!(
                "whose last instance has just left: `{name}` gets it a minute later if it does not come back"
            ),
            format!("{document}, {owners}, or `xds-bridge forget {has}`"),
        ),
        Claim { documented: true, .. } => ("by its policy document".to_owned(), owners),
        _ => ("which has it".to_owned(), format!("{document}, or {owners}")),
    };
    let reason = format!(
        "route: {what} on host `{host}` is that of `{has}`, {why}; this route is left out (what gives it to \
         `{name}` at once: {how})"
    );
    Issue::warning(&**name, reason).of_kind(Code::RouteContested)
}

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
