//! A message of an access log, read where it lies. An entry that cannot be read costs itself only, and one that is no
//! error is passed over: who sends it can make others look bad, and never good. Pure.
//!
//! Field numbers: `envoy/service/accesslog/v3/als.proto`, `envoy/data/accesslog/v3/accesslog.proto`.

use std::net::SocketAddr;
use std::time::Duration;

use super::status::{Flags, Status};
use crate::fields::{self, Unreadable, Value};

/// Entries of one message that are read: an Envoy sends 16 KiB at once, which is some fifty.
pub const MOST_ENTRIES: usize = 2_000;

/// `HTTPRequestProperties.request_method`, by its number.
const VERBS: [&str; 10] = [
    "?", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// One message: `StreamAccessLogsMessage`.
#[derive(Debug, Default)]
pub struct Message<'a> {
    /// Encoded; in the first message of a stream.
    pub node: Option<&'a [u8]>,
    /// Failed attempts.
    pub errors: Vec<Entry<'a>>,
    /// Entries that are no errors.
    pub others: usize,
    /// Entries that cannot be read, or that name no cluster.
    pub unreadable: usize,
    /// There are more entries than are read.
    pub is_cut: bool,
}

/// One failed attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry<'a> {
    /// The cluster that the request was sent to.
    pub cluster: &'a str,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// `GET`; `?`: an unknown one.
    pub verb: &'static str,
    /// With its query, as the server got it.
    pub path: &'a str,
    /// What came back.
    pub status: Status,
    /// What Envoy noticed.
    pub flags: Flags,
    /// `grpc-message`, percent-encoded, or why there was no connection.
    pub message: &'a str,
    /// From the first byte of the request to the last one of the response.
    pub took: Duration,
}

impl<'a> Message<'a> {
    /// Reads an encoded `StreamAccessLogsMessage`.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(mut rest: &'a [u8]) -> Result<Self, Unreadable> {
        let mut message = Self::default();
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(mut identifier)) => {
                    while let Some((field, value)) = fields::next(&mut identifier)? {
                        if let (1, Value::Bytes(node)) = (field, value) {
                            message.node = Some(node);
                        }
                    }
                }
                (2, Value::Bytes(mut entries)) => {
                    while let Some((field, value)) = fields::next(&mut entries)? {
                        if let (1, Value::Bytes(entry)) = (field, value) {
                            message.take(entry);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(message)
    }

    fn take(&mut self, entry: &'a [u8]) {
        if self.errors.len() + self.others + self.unreadable >= MOST_ENTRIES {
            self.is_cut = true;
            return;
        }
        match Entry::read(entry) {
            Ok(entry) if !entry.is_error() => self.others += 1,
            Ok(entry) if entry.cluster.is_empty() => self.unreadable += 1,
            Ok(entry) => self.errors.push(entry),
            Err(Unreadable) => self.unreadable += 1,
        }
    }
}

impl<'a> Entry<'a> {
    fn read(mut rest: &'a [u8]) -> Result<Self, Unreadable> {
        let mut entry = Self {
            verb: VERBS[0],
            ..Self::default()
        };
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(common)) => entry.common(common)?,
                (3, Value::Bytes(request)) => entry.request(request)?,
                (4, Value::Bytes(response)) => entry.response(response)?,
                _ => {}
            }
        }
        Ok(entry)
    }

    /// A client that hangs up is none: neither its flags nor the lack of a status say so.
    fn is_error(&self) -> bool {
        self.status.is_error() || self.flags.is_error()
    }

    /// A status of gRPC came back.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        matches!(self.status, Status::Grpc(_))
    }

    fn common(&mut self, mut rest: &'a [u8]) -> Result<(), Unreadable> {
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (13, Value::Bytes(address)) => self.upstream = fields::address(address)?,
                (15, Value::Bytes(cluster)) => self.cluster = fields::text(cluster)?,
                (16, Value::Bytes(flags)) => self.flags = self::flags(flags)?,
                (18, Value::Bytes(reason)) if self.message.is_empty() => self.message = lenient(reason),
                (23, Value::Bytes(took)) => self.took = fields::duration(took)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, mut rest: &'a [u8]) -> Result<(), Unreadable> {
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Number(verb)) => {
                    let known = usize::try_from(verb).ok().and_then(|n| VERBS.get(n));
                    self.verb = known.unwrap_or(&VERBS[0]);
                }
                (5, Value::Bytes(path)) => self.path = lenient(path),
                _ => {}
            }
        }
        Ok(())
    }

    /// The status of gRPC stands in the trailers, and in the headers of an answer without a body.
    fn response(&mut self, mut rest: &'a [u8]) -> Result<(), Unreadable> {
        let mut grpc = None;
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(mut code)) => {
                    while let Some((field, value)) = fields::next(&mut code)? {
                        if let (1, Value::Number(code)) = (field, value)
                            && let Ok(code) = u16::try_from(code)
                            && code > 0
                        {
                            self.status = Status::Http(code);
                        }
                    }
                }
                (4 | 5, Value::Bytes(header)) => match self::header(header)? {
                    ("grpc-status", code) => grpc = code.trim().parse().ok().or(grpc),
                    ("grpc-message", text) if !text.is_empty() => self.message = text,
                    _ => {}
                },
                _ => {}
            }
        }
        // One that says OK and failed nevertheless has ended badly behind its headers.
        if let Some(code) = grpc.filter(|code| *code != 0) {
            self.status = Status::Grpc(code);
        }
        Ok(())
    }
}

fn flags(mut rest: &[u8]) -> Result<Flags, Unreadable> {
    let mut set = Vec::new();
    while let Some((field, value)) = fields::next(&mut rest)? {
        if value == Value::Number(1) && set.len() < 32 {
            set.push(field);
        }
    }
    Ok(Flags::of(set))
}

/// Name and value of an entry of a map.
fn header(mut rest: &[u8]) -> Result<(&str, &str), Unreadable> {
    let mut header = ("", "");
    while let Some((field, value)) = fields::next(&mut rest)? {
        match (field, value) {
            (1, Value::Bytes(name)) => header.0 = lenient(name),
            (2, Value::Bytes(value)) => header.1 = lenient(value),
            _ => {}
        }
    }
    Ok(header)
}

/// Up to what is no UTF-8: servers and callers write what they like.
fn lenient(bytes: &[u8]) -> &str {
    let end = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), |_| bytes.len());
    bytes
        .get(..end)
        .and_then(|valid| std::str::from_utf8(valid).ok())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
