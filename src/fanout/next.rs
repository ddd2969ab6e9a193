//! The next response of a stream: what changed since it last looked is taken in, questions about refused versions are
//! answered, then the engine is polled. Keeps no time: the age of the stream is given.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fanout, Poll, Registration};
use crate::xds::{Response, Stream};

/// What a stream has to send now, and what came of looking.
#[derive(Debug, Default)]
pub struct Next {
    /// The response, if there is one.
    pub response: Option<Response>,
    /// When the oldest change that was taken in now reached the hub.
    pub since: Option<Instant>,
    /// Responses wait for an answer of the client.
    pub is_outstanding: bool,
    /// What is rejected has changed.
    pub is_ruled: bool,
}

impl Fanout {
    /// The next response, as of the newest generation. `client`: its node id and its fleet; `age`: of the stream.
    #[must_use]
    pub fn next(&self, registration: &Registration, client: (&str, &str), age: Duration) -> Next {
        let mut next = Next::default();
        // Held until the pending changes are applied: a name that is only in these is not forgotten meanwhile.
        let mut stream = registration.subscriber.stream();
        if let Some(pending) = registration.subscriber.take() {
            stream.handle_changes(&pending.changed);
            next.since = pending.since;
            next.is_ruled = self.answer_polls(registration, &stream, client, &pending.polls);
        }
        // Loaded after the pending changes were taken: at least as new as these.
        let Some(generation) = self.current() else {
            return next;
        };
        next.response = stream.poll_response(&generation, self, age);
        next.is_outstanding = stream.outstanding() > 0;
        if next.response.is_none() {
            self.answered(registration, &stream);
        }
        next
    }

    /// Replies to polls: whether this client has accepted a version that another refused.
    fn answer_polls(
        &self,
        registration: &Registration,
        stream: &Stream,
        (node, fleet): (&str, &str),
        polls: &[Poll],
    ) -> bool {
        if polls.is_empty() {
            return false;
        }
        let Some(generation) = self.current() else {
            return false;
        };
        let who = registration.voter(node);
        let mut is_ruled = false;
        for poll in polls {
            let Poll { key, version } = poll;
            let ours = *key.fleet == *fleet;
            let accepted = ours && stream.verdict(&generation, key.kind, key.id, *version) == Some(true);
            is_ruled |= self.reply(who, poll, accepted);
        }
        is_ruled
    }
}
