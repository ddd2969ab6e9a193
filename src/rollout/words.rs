//! Figures and names in sentences. Pure.

use super::beta::float;
use super::facts::Sum;
use super::record::{Hold, Why};
use super::settings::Step;
use super::verdict::Signal;

/// A version in a sentence.
pub(super) fn name(version: &str) -> &str {
    if version.is_empty() {
        "(no version)"
    } else {
        version
    }
}

/// `13 of 260 (5.00 %)`
pub(super) fn part(sum: Sum) -> String {
    if sum.n == 0 {
        return "none".to_owned();
    }
    format!(
        "{} of {} ({:.2} %)",
        sum.k,
        sum.n,
        100.0 * float(sum.k) / float(sum.n)
    )
}

/// `1.2e4`, `0.31`, `130`
pub(super) fn value(e: f64) -> String {
    if e >= 1e9 {
        "more than 1e9".to_owned()
    } else if e >= 1e4 {
        format!("{e:.1e}")
    } else if e >= 10.0 {
        format!("{e:.0}")
    } else {
        format!("{e:.2}")
    }
}

/// `with 10 % of the requests`
pub(super) fn at(step: Option<Step>) -> String {
    match step {
        None => "before its first step".to_owned(),
        Some(Step::Header) => "with the requests that ask for it by header".to_owned(),
        Some(Step::Mirror(_)) => "with a copy of some requests".to_owned(),
        Some(Step::Share(_)) => format!("with {} of the requests", share(step)),
    }
}

/// `10 %`
pub(super) fn share(step: Option<Step>) -> String {
    match step {
        Some(step @ Step::Share(_)) => format!("{step} %"),
        _ => "0 %".to_owned(),
    }
}

/// What a signal counts.
pub(super) const fn signal(signal: Signal) -> &'static str {
    match signal {
        Signal::Errors => "errors",
        Signal::Abandoned => "requests that clients gave up on",
        Signal::Metric => "the servers' own metric",
    }
}

/// Why a version was taken back, after its name.
pub(super) fn why(why: &Why) -> String {
    match why {
        Why::Worse { signal: by } => format!("is worse than the stable version by {}", signal(*by)),
        Why::Gone => "has no healthy instance any more; neither good nor bad".to_owned(),
        Why::Flapping => "came and went three times within ten minutes".to_owned(),
        Why::Order { by, reason } if reason.is_empty() => format!("was taken back by {by}"),
        Why::Order { by, reason } => format!("was taken back by {by}: {reason}"),
        Why::Data { stored } => format!("cannot read the stored data, {stored}"),
        Why::Replaced { by } => format!("was bad, had no way back, and {} takes its place", name(by)),
        Why::DryRun => "was only judged, and found good".to_owned(),
    }
}

/// Why the next step does not begin.
pub(super) fn hold(hold: &Hold) -> String {
    match hold {
        Hold::NoReports => "no client has reported for too long, so nothing is known of it".to_owned(),
        Hold::FewRequests {
            signal: Signal::Metric,
            need,
        } => {
            format!("fewer than {need} requests in this step came with the servers' own metric")
        }
        Hold::FewRequests { need, .. } => format!("it has answered fewer than {need} requests in this step"),
        Hold::Margin { signal: by } => {
            format!(
                "it is not sure yet that it is within the margin by {}",
                signal(*by)
            )
        }
        Hold::Deadline => "it takes longer than the deadline; resume, promote or abort it".to_owned(),
        Hold::FullLoad { signal: by } => format!(
            "with all requests it did worse by {} than was known before, twice, and beside the stable version it does \
             not; promote or abort it",
            signal(*by)
        ),
        Hold::RollForward { why: reason } => format!(
            "it {}, and there is no way back: the stable version has no healthy instance or cannot read the stored \
             data. Roll forward: deploy a version that is right",
            why(reason)
        ),
        Hold::Missing => "none of its instances is healthy; it gets no requests".to_owned(),
        Hold::Alone => "no instance of the stable version is healthy; it gets all requests".to_owned(),
    }
}
