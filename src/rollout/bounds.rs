//! A record never has more than 48 KiB, whatever versions are called and people write. Pure.

use std::borrow::Cow;

use super::facts::{Facts, Instances, Neighbours, Row};
use super::record::{Ordered, Record};

/// Bytes of a record as JSON: what shared state holds, less what is written around it.
pub const MAX_BYTES: usize = 47 << 10;

/// Bytes of the name of a version that is rolled out.
pub const MAX_VERSION: usize = 128;

/// Versions that are passed over are remembered up to this number.
pub(super) const MAX_RETIRED: usize = 24;
/// Versions that were taken back.
pub(super) const MAX_REJECTED: usize = 40;
/// Versions that wait.
pub(super) const MAX_WAITING: usize = 8;
/// Rollouts that have ended.
pub(super) const MAX_HISTORY: usize = 20;
/// Orders of one rollout.
const MAX_ORDERS: usize = 6;
/// Versions of a dry run.
pub(super) const MAX_PLAIN: usize = 16;
/// Rows of a verdict.
pub(super) const MAX_ROWS: usize = 12;
/// Bytes of a text that somebody wrote.
pub(super) const MAX_TEXT: usize = 160;
/// Bytes of a sentence with figures.
pub(super) const MAX_SENTENCE: usize = 480;

/// Bytes of the name of a service beside it, and of a replica with its start.
const MAX_SERVICE: usize = 256;
/// Bytes of a zone with its region, and of an endpoint.
const MAX_PLACE: usize = 400;

/// A name that can be remembered.
fn is_name(name: &str, most: usize) -> bool {
    name.len() <= most && !name.chars().any(char::is_control)
}

fn is_row(row: &Row) -> bool {
    is_name(&row.version, MAX_VERSION) && is_name(&row.zone, MAX_PLACE) && is_name(&row.endpoint, MAX_PLACE)
}

fn is_version(name: &str, instances: &Instances) -> bool {
    is_name(name, MAX_VERSION) && instances.total > 0
}

fn is_service(name: &str) -> bool {
    is_name(name, MAX_SERVICE)
}

/// At most this number of bytes of a text, on one line.
pub(super) fn text(text: &str, most: usize) -> String {
    let head: String = text
        .chars()
        .take(most)
        .map(|c| if c == '\n' { ' ' } else { c })
        .collect();
    let clean = crate::text::clip_to(&head, most);
    if clean.len() <= most && text.chars().nth(most).is_none() {
        return clean;
    }
    format!(
        "{}…",
        crate::text::head(&clean, most.saturating_sub('…'.len_utf8()))
    )
}

/// Remembers an order; the oldest go.
pub(super) fn note(orders: &mut Vec<Ordered>, ordered: Ordered) {
    orders.push(ordered);
    oldest(orders, MAX_ORDERS);
}

/// Only what can be remembered of the facts.
pub(super) fn admit(facts: &Facts) -> Cow<'_, Facts> {
    let neighbours = &facts.neighbours;
    let mut names = facts
        .runs
        .keys()
        .chain(neighbours.services.keys())
        .chain([&neighbours.run]);
    let is_clean = facts
        .versions
        .iter()
        .all(|(name, instances)| is_version(name, instances))
        && names.all(|name| is_service(name))
        && facts.rows.iter().all(is_row);
    if is_clean {
        return Cow::Borrowed(facts);
    }
    let mut facts = facts.clone();
    facts
        .versions
        .retain(|name, instances| is_version(name, instances));
    facts.runs.retain(|name, _| is_service(name));
    facts.neighbours.services.retain(|name, _| is_service(name));
    if !is_service(&facts.neighbours.run) {
        facts.neighbours = Neighbours::default();
    }
    facts.rows.retain(is_row);
    Cow::Owned(facts)
}

/// Forgets the oldest beyond the bounds, and as much as is needed for the document to fit.
pub(super) fn fit(record: &mut Record) {
    oldest(&mut record.retired, MAX_RETIRED);
    oldest(&mut record.rejected, MAX_REJECTED);
    oldest(&mut record.history, MAX_HISTORY);
    record.waiting.truncate(MAX_WAITING);
    // What is missed least goes first.
    let shed: [fn(&mut Record); 6] = [
        |record| {
            if let Some(last) = &mut record.last {
                last.rows.clear();
            }
        },
        |record| halve(&mut record.history),
        |record| {
            if let Some(rollout) = &mut record.rollout {
                let keep = rollout.watched.services.len() / 2;
                let first = rollout.watched.services.keys().nth(keep).cloned();
                if let Some(first) = first {
                    drop(rollout.watched.services.split_off(&first));
                }
            }
        },
        |record| record.rejected.iter_mut().for_each(|past| past.text.clear()),
        |record| halve(&mut record.retired),
        |record| halve(&mut record.rejected),
    ];
    for step in shed.iter().cycle().take(8 * shed.len()) {
        if size(record) <= MAX_BYTES {
            return;
        }
        step(record);
    }
}

fn size(record: &Record) -> usize {
    let most = at_most(record);
    if most <= MAX_BYTES {
        return most;
    }
    serde_json::to_vec(record).map_or(0, |text| text.len())
}

/// Bytes that the record cannot exceed: quick to know, and nearly always enough.
fn at_most(record: &Record) -> usize {
    // A character may need two bytes; a structure's own words and numbers need up to these.
    let text = |text: &str| 2 * text.len();
    let (word, row, pair, run) = (100, 240, 1_000, 1_600);
    let orders = |all: &[Ordered]| -> usize {
        let one = |order: &Ordered| word + text(&order.by) + text(&order.what) + text(&order.why);
        all.iter().map(one).sum()
    };
    let lists = record
        .waiting
        .iter()
        .map(|w| word + text(&w.version) + text(&w.why))
        .sum::<usize>()
        + record
            .retired
            .iter()
            .map(|r| word + text(&r.version))
            .sum::<usize>()
        + record
            .rejected
            .iter()
            .map(|r| row + 4 * MAX_TEXT + text(&r.version) + text(&r.text))
            .sum::<usize>()
        + record
            .history
            .iter()
            .map(|p| {
                2 * row
                    + 4 * MAX_TEXT
                    + text(&p.candidate)
                    + text(&p.stable)
                    + text(&p.text)
                    + orders(&p.orders)
            })
            .sum::<usize>()
        + record
            .plain
            .keys()
            .map(|version| word + text(version))
            .sum::<usize>();
    let verdict = record.last.as_deref().map_or(0, |last| {
        let rows = last
            .rows
            .iter()
            .map(|r| row + text(&r.version) + text(&r.zone) + text(&r.endpoint));
        let affected = last.affected.iter().map(|a| row + text(&a.service));
        4_000 + 4 * MAX_VERSION + text(&last.text) + rows.chain(affected).sum::<usize>()
    });
    let rollout = record.rollout.as_deref().map_or(0, |rollout| {
        let services = rollout.watched.services.keys().map(|name| row + text(name));
        let affected = rollout.watched.affected.iter().map(|a| row + text(&a.service));
        12_000
            + 3 * pair
            + orders(&rollout.orders)
            + rollout.seen.keys().map(|name| run + text(name)).sum::<usize>()
            + services.chain(affected).sum::<usize>()
    });
    1_000 + lists + verdict + rollout
}

fn oldest<T>(list: &mut Vec<T>, most: usize) {
    let beyond = list.len().saturating_sub(most);
    list.drain(..beyond);
}

fn halve<T>(list: &mut Vec<T>) {
    let half = list.len() / 2;
    oldest(list, half);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_bytes_and_one_line() {
        assert_eq!(text("a\nb", 10), "a b");
        assert_eq!(text("abcdef", 6), "abcdef");
        assert_eq!(text("abcdefg", 6), "abc…");
        assert!(text(&"ü".repeat(99), 50).len() <= 50);
    }
}
