//! A short text for chats: what happened, why, by which figures, which errors, who else is affected, what to do. Pure.

use std::fmt::Write as _;

use crate::rollout::{ErrorLine, Event, Happened, Report, Severity, Signal, Step, Sum, Verdict};
use crate::text::clip_to;

/// Errors that are shown.
const ERRORS: usize = 5;

/// Services beside it that are named.
const NEIGHBOURS: usize = 5;

/// Characters of anything that somebody else wrote.
const WORDS: usize = 200;

/// The text. Chats make links and names of people of some characters, so the words of servers are between backticks.
pub(super) fn text(service: &str, event: &Event, report: Option<&Report>) -> String {
    let mark = match event.severity() {
        Severity::Alert => "🔴",
        Severity::Warning => "🟡",
        Severity::Info => "🟢",
    };
    let rehearsed = if event.dry_run {
        " (dry run: nothing is done)"
    } else {
        ""
    };
    let mut text = format!("{mark} {}: {}{rehearsed}", quoted(service), said(&event.text));
    if let Some(report) = report.filter(|report| report.verdict.candidate == event.version) {
        figures(&mut text, &report.verdict);
        errors(&mut text, &report.errors);
        neighbours(&mut text, &report.verdict);
    }
    if let Some(next) = next(service, event) {
        line(&mut text, &format!("next: {next}"));
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push('\n');
    text.push_str(line);
}

/// Shown as it is, on one line.
fn said(words: &str) -> String {
    clip_to(words, WORDS)
}

/// Between backticks, without any.
fn quoted(words: &str) -> String {
    format!("`{}`", said(words).replace('`', "'"))
}

fn figures(text: &mut String, verdict: &Verdict) {
    let (new, old) = (quoted(&verdict.candidate), quoted(&verdict.stable));
    let share = verdict
        .step
        .map_or_else(String::new, |step| format!(" at {}", share(step)));
    line(text, &format!("{new}{share}, beside {old}"));
    for of in &verdict.signals {
        let sum = |pick: fn(&crate::rollout::StratumVerdict) -> Sum| {
            of.strata.values().map(pick).fold(Sum::default(), |all, one| Sum {
                n: all.n.saturating_add(one.n),
                k: all.k.saturating_add(one.k),
            })
        };
        let (candidate, stable) = (sum(|of| of.candidate), sum(|of| of.stable));
        if candidate.n == 0 && stable.n == 0 {
            continue;
        }
        let name = match of.signal {
            Signal::Errors => "errors",
            Signal::Abandoned => "given up by callers",
            Signal::Metric => "bad by the servers' own figure",
        };
        let shown = format!("{name}: {} against {}", rate(candidate), rate(stable));
        line(
            text,
            &format!("{shown}; evidence {:.3e} of {:.0}", of.e, of.threshold),
        );
    }
    let (new, old) = (verdict.load.candidate, verdict.load.stable);
    if new.issued > 0 || old.issued > 0 {
        let load = format!(
            "load: {:.1} requests/s on {} ({:.1} each) against {:.1} on {} ({:.1} each)",
            new.rate,
            instances(new.instances),
            new.per_instance,
            old.rate,
            instances(old.instances),
            old.per_instance
        );
        line(text, &load);
    }
}

fn instances(number: u32) -> String {
    match number {
        1 => "1 instance".to_owned(),
        n => format!("{n} instances"),
    }
}

fn share(step: Step) -> String {
    match step {
        Step::Share(_) => format!("{step} %"),
        other => other.to_string(),
    }
}

/// `12 of 240 (5 %)`
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn rate(sum: Sum) -> String {
    let percent = sum.k as f64 * 100.0 / sum.n.max(1) as f64;
    let shown = format!("{percent:.2}");
    let shown = shown.trim_end_matches('0').trim_end_matches('.');
    format!("{} of {} ({shown} %)", sum.k, sum.n)
}

fn errors(text: &mut String, errors: &[ErrorLine]) {
    for error in errors.iter().take(ERRORS) {
        let ErrorLine {
            count,
            version,
            status,
            ..
        } = error;
        let mut shown = format!("• {count}× {} {}", quoted(&error.method), said(status));
        // Writing into a String does not fail.
        if !error.flags.is_empty() {
            let _ = write!(shown, " ({})", said(&error.flags));
        }
        if !error.message.is_empty() {
            let _ = write!(shown, " {}", quoted(&error.message));
        }
        let _ = write!(shown, " by {} at {}", quoted(version), said(&error.upstream));
        line(text, &shown);
    }
    let more = errors.len().saturating_sub(ERRORS);
    if more > 0 {
        line(text, &format!("• and {more} more kinds of errors"));
    }
}

fn neighbours(text: &mut String, verdict: &Verdict) {
    for other in verdict.affected.iter().take(NEIGHBOURS) {
        let (name, after, before) = (quoted(&other.service), rate(other.after), rate(other.before));
        line(text, &format!("{name} fails since: {after}, before {before}"));
    }
    let more = verdict.affected.len().saturating_sub(NEIGHBOURS);
    if more > 0 {
        line(text, &format!("and {more} more services"));
    }
}

/// What a person can do.
fn next(service: &str, event: &Event) -> Option<String> {
    let show = format!("`xds-bridge rollout show {}`", said(service));
    Some(match &event.what {
        _ if event.dry_run => show,
        Happened::TakenBack { .. } => format!(
            "{show}; once it is fixed deploy another version, or `xds-bridge rollout retry {}`",
            said(service)
        ),
        Happened::Gate { .. } => format!("`xds-bridge rollout promote {}` when it may go on", said(service)),
        Happened::Alert | Happened::Held { .. } | Happened::Warning | Happened::Neighbour { .. } => show,
        _ => return None,
    })
}
