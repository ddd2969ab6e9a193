//! What is promised of access logs: each error is counted once, and nothing that a client writes is shown as it is.

use std::time::Duration;

use xds_bridge::errors::{Allowance, Limits, MOST_ENTRIES, Message, Table};

/// An encoded `StreamAccessLogsMessage`.
pub(crate) fn access_log(input: &[u8]) {
    let Ok(message) = Message::read(input) else {
        return;
    };
    let entries = message.errors.len() + message.others + message.unreadable;
    assert!(entries <= MOST_ENTRIES, "{entries}");
    let mut table = Table::new(Limits {
        clusters: 4,
        lines: 4,
        bytes: 4_000,
        age: Duration::from_secs(100),
    });
    let mut allowance = Allowance::new(Duration::ZERO);
    for now in [1, 2] {
        for entry in &message.errors {
            table.record(&mut allowance, entry, Duration::from_secs(now));
        }
    }
    let all = table.errors(None, usize::MAX);
    assert!(all.len() <= 4, "{all:?}");
    let mut counted = table.lost();
    for cluster in &all {
        counted += cluster.total;
        let lines: u64 = cluster.lines.iter().map(|line| line.count).sum();
        assert_eq!(lines + cluster.other, cluster.total, "{cluster:?}");
        assert!(cluster.lines.len() <= 4, "{cluster:?}");
        for line in &cluster.lines {
            let path = line
                .method
                .split_once(' ')
                .map_or(&*line.method, |(_, path)| path);
            assert!(!path.contains(['\n', '?']), "{line:?}");
            assert!(line.message.chars().count() <= 201, "{line:?}");
            assert!(!line.message.chars().any(char::is_control), "{line:?}");
            assert!(line.status.is_error() || line.flags.is_error(), "{line:?}");
        }
    }
    assert_eq!(counted, 2 * message.errors.len() as u64, "none is forgotten");
}
