//! One watch of one range (`etcdserverpb.Watch/Watch`): typed messages, fragments put together.
//!
//! Never reconnects: after any error the watch is over.

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{WatchClient, WatchOptions, WatchStream};

use super::error::Error;
use super::{Event, Kv, Origin};

/// Fragments of one answer are put together up to this number of bytes: a catch-up holds up to a thousand revisions,
/// each with a value of up to [`super::MAX_VALUE`].
const MAX_HELD: usize = 16 * 1024 * 1024;

/// What a watch says. Any of them is a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Changes in their order; a revision (one transaction) is never torn apart.
    Events(Vec<Event>),
    /// The store is at this revision, and the watch has delivered what concerns it up to there.
    Progress(i64),
    /// Nothing to apply yet: a fragment whose rest is to follow.
    Alive,
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    stream: WatchStream,
    pub(super) origin: Origin,
    /// As etcd numbers it on its stream.
    id: i64,
    /// Events of the fragments seen so far. Kept here, so that [`Watch::next`] may be dropped halfway.
    parts: Vec<Event>,
    /// What they weigh.
    held: usize,
    /// What those of one revision may weigh.
    most: usize,
}

impl Watch {
    /// Opens the watch and waits until etcd confirms it. `most`: what the fragments of one revision may weigh.
    pub(super) async fn open(
        mut client: WatchClient,
        prefix: &str,
        end: Vec<u8>,
        from: i64,
        most: usize,
    ) -> Result<Self, Error> {
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(from)
            .with_fragment();
        let mut stream = client.watch(prefix, Some(options)).await?;
        let response = stream.message().await?.ok_or(Error::Closed)?.0;
        check(&response)?;
        if !response.created {
            return Err(Error::Protocol("a watch that begins without `created`"));
        }
        let header = response
            .header
            .ok_or(Error::Protocol("a watch without a header"))?;
        let known = from.saturating_sub(1);
        if header.revision < known {
            // etcd would stay silent until the new history passes ours, and skip all up to there.
            return Err(Error::Rewound { known });
        }
        let origin = Origin {
            cluster_id: header.cluster_id,
            raft_term: header.raft_term,
            raft_index: None,
        };
        Ok(Self {
            stream,
            origin,
            id: response.watch_id,
            parts: Vec::new(),
            held: 0,
            most,
        })
    }

    /// Who confirmed the watch.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The next message. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// Why the watch is over.
    pub async fn next(&mut self) -> Result<Message, Error> {
        let response = self.stream.message().await?.ok_or(Error::Closed)?.0;
        self.belongs(&response)?;
        check(&response)?;
        let more = response.fragment;
        for event in response.events {
            if let Some(event) = typed(event)? {
                self.held += event.weight();
                self.parts.push(event);
            }
        }
        if more && self.held >= MAX_HELD.min(self.most) {
            let whole = whole(&mut self.parts);
            self.held = self.parts.iter().map(Event::weight).sum();
            if self.held >= self.most {
                // One revision: a listing shows what it changed, page by page.
                let reason = format!("a revision with changes of more than {} bytes", self.most);
                return Err(Error::TooLarge { reason });
            }
            if !whole.is_empty() {
                return Ok(Message::Events(whole));
            }
        }
        if more {
            return Ok(Message::Alive);
        }
        self.held = 0;
        if self.parts.is_empty() {
            // Without a header it proves nothing beyond a sign of life.
            let revision = response.header.map(|header| header.revision);
            return Ok(revision.map_or(Message::Alive, Message::Progress));
        }
        Ok(Message::Events(std::mem::take(&mut self.parts)))
    }

    /// Refuses an answer that is not of this watch: of another one, of another cluster, or events of nobody.
    /// `etcd grpc-proxy` names no cluster; a progress that was asked for is of no watch (-1), as is a refusal.
    fn belongs(&self, response: &PbWatchResponse) -> Result<(), Error> {
        let of_nobody = response.watch_id == -1 && response.events.is_empty();
        if response.watch_id != self.id && !of_nobody {
            return Err(Error::Protocol("an answer for another watch"));
        }
        let Some(header) = &response.header else {
            return if response.events.is_empty() {
                Ok(())
            } else {
                Err(Error::Protocol("events without a header"))
            };
        };
        let (seen, ours) = (header.cluster_id, self.origin.cluster_id);
        if seen != ours && seen != 0 && ours != 0 {
            return Err(Error::Protocol("an answer of another cluster on this watch"));
        }
        Ok(())
    }

    /// Asks for a [`Message::Progress`]. Not every peer sends one (`source::etcd::pulse` lists which do not).
    ///
    /// # Errors
    /// When the watch is over.
    pub async fn request_progress(&mut self) -> Result<(), Error> {
        Ok(self.stream.request_progress().await?)
    }
}

/// Takes out all revisions but the last, of which more may follow.
fn whole(parts: &mut Vec<Event>) -> Vec<Event> {
    let last = parts.last().map(Event::mod_revision);
    let end = parts.iter().rposition(|event| Some(event.mod_revision()) != last);
    let rest = parts.split_off(end.map_or(0, |at| at + 1));
    std::mem::replace(parts, rest)
}

/// Cancellation comes inside the stream, and the stream stays open.
fn check(response: &PbWatchResponse) -> Result<(), Error> {
    if response.compact_revision > 0 {
        return Err(Error::Compacted {
            before: response.compact_revision,
        });
    }
    if !response.canceled {
        return Ok(());
    }
    let reason = response.cancel_reason.clone();
    if reason.contains("compacted") {
        return Err(Error::Compacted { before: 0 });
    }
    // There is no code beside the text.
    Err(Error::refusal(&reason).unwrap_or(Error::Canceled { reason }))
}

/// `None`: a kind of event from a later etcd, which tells nothing of the key's value.
fn typed(event: PbEvent) -> Result<Option<Event>, Error> {
    let kv = event.kv.ok_or(Error::Protocol("an event without a key"))?;
    Ok(match event.r#type {
        0 => Some(Event::Put(Kv::new(
            kv.key,
            kv.value,
            (kv.mod_revision, kv.create_revision),
        ))),
        1 => Some(Event::Delete {
            key: kv.key,
            mod_revision: kv.mod_revision,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_inside_the_stream_is_typed() {
        let canceled = |reason: &str, compact_revision| {
            let response = PbWatchResponse {
                canceled: true,
                compact_revision,
                cancel_reason: reason.to_owned(),
                ..PbWatchResponse::default()
            };
            check(&response).unwrap_err()
        };
        assert!(matches!(canceled("", 7), Error::Compacted { before: 7 }));
        assert!(matches!(
            canceled("etcdserver: permission denied", 0),
            Error::Denied { .. }
        ));
        assert!(matches!(canceled("watch closed", 0), Error::Canceled { .. }));
        assert!(check(&PbWatchResponse::default()).is_ok());
    }

    #[test]
    fn a_long_catch_up_is_handed_on_by_whole_revisions() {
        let event = |mod_revision| Event::Delete {
            key: vec![b'k'],
            mod_revision,
        };
        let mut parts: Vec<Event> = [1, 2, 2, 3, 3].map(event).into();
        assert_eq!(whole(&mut parts), [1, 2, 2].map(event));
        assert_eq!(parts, [3, 3].map(event));
        assert_eq!(whole(&mut parts), [], "one revision is never torn apart");
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn an_unknown_kind_of_event_is_no_panic() {
        let event = PbEvent {
            r#type: 9,
            kv: Some(etcd_client::proto::PbKeyValue::default()),
            prev_kv: None,
        };
        assert_eq!(typed(event).unwrap(), None);
        assert!(typed(PbEvent::default()).is_err());
    }
}
