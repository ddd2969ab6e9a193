//! The keys that a service can declare, as `xds-bridge keys` lists them: the rows of the table, for a terminal. Pure.

use std::fmt::Write as _;

use crate::model::Key;
use crate::model::route::WORDS;

/// All keys, then the words of a route.
pub(super) fn listing() -> String {
    let mut text = String::from(
        "Consul Meta xds-KEY, Consul tag xds.KEY=value, \"KEY\" in etcd, files and policy documents.\n\n",
    );
    for row in Key::ALL.iter().map(|key| key.row()) {
        let (names, scope, since) = (row.names().join(", "), row.scope().as_str(), row.since);
        let more = if row.numbered { ", …" } else { "" };
        let _ = write!(
            text,
            "{names}{more}  (of the {scope}, since {since})\n    {}\n    default: {}\n",
            row.help, row.default
        );
    }
    let _ = writeln!(text, "\nWords of a route:");
    for word in &WORDS {
        let _ = writeln!(text, "{}=\n    {}", word.name, word.help);
    }
    text
}
