//! Events as a file: a line that says what it is, and a line of JSON for each. A line that cannot be read costs itself. Pure.

use serde::{Deserialize, Serialize};

use super::ring::{EVENTS, Event};

/// Of the form of the file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    events: u32,
    /// When the numbers of events began.
    start: u64,
}

pub(super) fn encode(start: u64, events: &[Event]) -> String {
    let head = Head {
        events: VERSION,
        start,
    };
    // What is made of strings and numbers cannot fail to be JSON.
    let mut text = serde_json::to_string(&head).unwrap_or_default();
    for event in events {
        text.push('\n');
        text += &serde_json::to_string(event).unwrap_or_default();
    }
    text.push('\n');
    text
}

/// `None`: it is no such file, or of another version of the bridge.
pub(super) fn decode(text: &str) -> Option<(u64, Vec<Event>)> {
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next()?).ok()?;
    let events = lines.filter_map(|line| serde_json::from_str(line).ok());
    (head.events == VERSION).then(|| (head.start, events.take(EVENTS).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: u64) -> Event {
        Event {
            id,
            at: id * 10,
            source: Some("etcd".into()),
            service: Some("orders".into()),
            instance: None,
            what: "left\n\"x\"".to_owned(),
            generation: Some(id),
            acked_at: None,
            clients: None,
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let events: Vec<Event> = (1..20).map(event).collect();
        assert_eq!(decode(&encode(5, &events)), Some((5, events)));
        assert_eq!(decode(&encode(5, &[])), Some((5, Vec::new())));
        for other in ["", "\n", "x", "{\"events\":2,\"start\":1}\n", "[1]"] {
            assert_eq!(decode(other), None, "{other}");
        }
    }

    proptest! {
        /// Wherever a file is torn, and whatever is in its place: the whole lines before it are there.
        #[test]
        fn a_torn_file_costs_what_is_torn(cut in 40_usize..600, rest in "[\\x00-\\x7f]{0,40}") {
            let events: Vec<Event> = (1..10).map(event).collect();
            let text = encode(5, &events);
            let cut = cut.min(text.len());
            let torn = format!("{}{rest}", &text[..cut]);
            let whole = text[..cut].lines().count().saturating_sub(2);
            let (_, read) = decode(&torn).expect("its first line is whole");
            prop_assert!(read.len() >= whole && read[..whole] == events[..whole], "{torn}");
        }
    }
}
