//! Whether a request failed because of a limit: the agent has no room for one more connection (shown by a status, by
//! HTTP/2, or by closing a new connection without a byte), or requests are limited per second. Never decides whether the
//! agent is there at all: one that has just died closes its connections too.

use std::io::ErrorKind;

use http::StatusCode;
use hyper_util::client::legacy;

use crate::text::causes;

/// In the text that Consul sends at accept, when a client has too many connections.
const CONNECTIONS: &str = "concurrent connections";
/// In the text of `limits.request_limits` (Consul 1.15 and newer), with 429 or, by a leader, 503; and in that
/// of `limits.rpc_rate`, which the agent logs and does not send.
const RATE: &str = "rate limit";

/// Whether an error status means a limit per second. 429 does, except for the one at accept.
pub(super) fn is_rate_limit(status: StatusCode, text: &str) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => !text.contains(CONNECTIONS),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => {
            text.to_ascii_lowercase().contains(RATE)
        }
        _ => false,
    }
}

/// How it shows that an agent has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// 429, or `REFUSED_STREAM` or `ENHANCE_YOUR_CALM` of HTTP/2: the agent is there, and reports it.
    Reported,
    /// The connection ended without a byte.
    Closed,
}

/// What an error without a response says.
pub(super) fn of_send_error(error: &legacy::Error) -> Option<Overload> {
    let mut closed = false;
    for error in causes(error).skip(1) {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            // Other reasons that end a shared connection say nothing about its room.
            let refused = [h2::Reason::REFUSED_STREAM, h2::Reason::ENHANCE_YOUR_CALM];
            return h2
                .reason()
                .is_some_and(|reason| refused.contains(&reason))
                .then_some(Overload::Reported);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            if hyper.is_timeout() || hyper.is_parse() || hyper.is_user() {
                return None;
            }
            // Also a response before the request, as the 429 at accept is: hyper ends the connection.
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
    }
    closed.then_some(Overload::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_per_second_is_distinguished_from_one_of_connections() {
        let at_accept = "Your IP is issuing too many concurrent connections, please rate limit your calls";
        for (status, text, rate) in [
            (429, at_accept, false),
            (429, "", true),
            (429, "RPC rate limit exceeded", true),
            (429, "rate limit exceeded, try a different server", true),
            (503, "rate limit exceeded, try again later", true),
            (
                500,
                "rpc error: code = ResourceExhausted desc = rate limit exceeded",
                true,
            ),
            (503, "", false),
            (500, "No cluster leader", false),
            (400, "rate limit", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_rate_limit(status, text), rate, "{status} {text}");
        }
    }
}
