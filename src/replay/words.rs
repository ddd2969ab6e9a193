//! The way of a request, in words. Pure.

use std::fmt::Write as _;

use super::{Outcome, Target, Way};
use crate::text::clip_to;

/// Routes passed over that are shown, at most; the last ones, which are nearest to the one that takes it.
const SHOWN: usize = 10;
/// Endpoints that are shown of a cluster.
const ENDS: usize = 10;
/// Characters of a route.
const ROUTE: usize = 160;

/// A paragraph for each listener.
#[must_use]
pub fn words(ways: &[Way]) -> String {
    let mut text = String::new();
    for way in ways {
        one(way, &mut text);
    }
    text
}

// Writing into a String does not fail.
fn one(way: &Way, text: &mut String) {
    let sign = if way.ending.works { "✓" } else { "!" };
    let at = match way.address.as_str() {
        "" => String::new(),
        address => format!(" ({address})"),
    };
    let _ = writeln!(text, "{sign} listener {}{at}: {}", way.listener, way.ending.why);
    for note in &way.notes {
        let _ = writeln!(text, "    note: {note}");
    }
    if !way.filters.is_empty() {
        let _ = writeln!(text, "    filters in front: {}", way.filters.join(", "));
    }
    if !way.host.is_empty() {
        let _ = writeln!(text, "    virtual host: {}", way.host);
    }
    let left = way.passed.len().saturating_sub(SHOWN);
    if left > 0 || way.more > 0 {
        let _ = writeln!(text, "    {} routes before do not take it", left + way.more);
    }
    for passed in way.passed.iter().skip(left) {
        let route = clip_to(&passed.route, ROUTE);
        let _ = writeln!(text, "    not {route} ({}): {}", passed.to, passed.why);
    }
    if !way.route.is_empty() {
        let _ = writeln!(text, "    route: {}", clip_to(&way.route, ROUTE));
    }
    if let Outcome::Clusters(targets) = &way.ending.outcome {
        for target in targets {
            cluster(target, text);
        }
    }
}

fn cluster(target: &Target, text: &mut String) {
    let _ = write!(text, "    cluster {}", target.cluster);
    if target.share < 1.0 {
        let _ = write!(text, ", {:.2} % of the requests", target.share * 100.0);
    }
    let _ = writeln!(text, "{}", if target.known { "" } else { ": not there" });
    for end in target.endpoints.iter().take(ENDS) {
        let _ = write!(
            text,
            "      {} {}, weight {}",
            end.address, end.health, end.weight
        );
        if end.priority > 0 {
            let _ = write!(text, ", priority {}", end.priority);
        }
        if !end.locality.is_empty() {
            let _ = write!(text, ", {}", end.locality);
        }
        text.push('\n');
    }
    if target.endpoints.len() > ENDS {
        let _ = writeln!(text, "      and {} more", target.endpoints.len() - ENDS);
    }
}
