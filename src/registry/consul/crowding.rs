//! Whether a request failed because the agent has no room for one more: said by a status, by HTTP/2,
//! or by closing a new connection without a byte. Never decides whether the agent is there at all:
//! one that has just died closes its connections too.

use std::error::Error;
use std::io::ErrorKind;

use hyper_util::client::legacy;

use super::error::Failure;

/// How an agent without room shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowding {
    /// 429, or `REFUSED_STREAM` or `ENHANCE_YOUR_CALM` of HTTP/2: somebody is there, and says so.
    Said,
    /// The connection ended without a byte.
    Closed,
}

impl Crowding {
    pub(super) fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Status { status: 429, .. } => Some(Self::Said),
            Failure::Send(error) => sent(error),
            _ => None,
        }
    }
}

fn sent(error: &legacy::Error) -> Option<Crowding> {
    let mut closed = false;
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            // What else ends a shared connection says nothing of its room.
            let refused = [h2::Reason::REFUSED_STREAM, h2::Reason::ENHANCE_YOUR_CALM];
            return h2
                .reason()
                .is_some_and(|reason| refused.contains(&reason))
                .then_some(Crowding::Said);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            if hyper.is_timeout() || hyper.is_parse() || hyper.is_user() {
                return None;
            }
            // Also an answer that comes before the question, as a 429 does: hyper ends the connection.
            closed = true;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            closed |= matches!(
                io.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
            );
        }
        next = error.source();
    }
    closed.then_some(Crowding::Closed)
}
