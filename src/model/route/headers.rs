//! `set-header=name:value` and the like: headers on their way to the server, and back. Pure.

use super::criterion::is_token;
use crate::text::clip;

/// The longest value, bytes.
const MAX_VALUE: usize = 1_024;
/// The path as the client sent it, without its query: headers are written before it is replaced.
pub const PATH: &str = "PATH(NQ:PATH)";
/// What Envoy may put in the place of `%NAME%`, in each version.
const FORMATS: [&str; 11] = [
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "HOSTNAME",
    PATH,
    "PROTOCOL",
    "START_TIME",
    "UPSTREAM_REMOTE_ADDRESS",
];

/// One header that is written or removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderChange {
    /// Of the request or of the response.
    pub of: Side,
    /// What is done.
    pub how: How,
    /// In lower case.
    pub name: String,
    /// Empty where it is removed.
    pub value: String,
}

/// Whose header it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// On its way to the server.
    Request,
    /// On its way to the client.
    Response,
}

/// What is done with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// It takes the place of what is there.
    Set,
    /// It stands beside what is there.
    Add,
    /// It is there where there is none.
    Default,
    /// It is taken out.
    Remove,
}

impl HeaderChange {
    /// The word that declares it.
    pub(super) fn word(&self) -> (&'static str, String) {
        let name = match (self.how, self.of) {
            (How::Set, Side::Request) => "set-header",
            (How::Add, Side::Request) => "add-header",
            (How::Default, Side::Request) => "default-header",
            (How::Remove, Side::Request) => "remove-header",
            (How::Set, Side::Response) => "set-response-header",
            (How::Add, Side::Response) => "add-response-header",
            (How::Default, Side::Response) => "default-response-header",
            (How::Remove, Side::Response) => "remove-response-header",
        };
        let value = match self.how {
            How::Remove => self.name.clone(),
            How::Set | How::Add | How::Default => format!("{}:{}", self.name, self.value),
        };
        (name, value)
    }

    /// Reads the value of one of these words.
    pub(super) fn parse(of: Side, how: How, text: &str) -> Result<Self, String> {
        let (name, value) = match how {
            How::Remove => (text, ""),
            How::Set | How::Add | How::Default => text
                .split_once(':')
                .ok_or_else(|| format!("`{}` must be name:value", clip(text)))?,
        };
        let change = Self {
            of,
            how,
            name: name.to_ascii_lowercase(),
            value: value.to_owned(),
        };
        if !is_token(name) {
            return Err(format!("`{}` is not the name of a header", clip(name)));
        }
        if change.name == "host" {
            return Err("the header host is changed by `host-rewrite=`".to_owned());
        }
        check_value(value).map_err(|why| format!("`{}`: {why}", clip(text)))?;
        Ok(change)
    }
}

/// Envoy refuses a whole route configuration for a value that it cannot read.
fn check_value(value: &str) -> Result<(), String> {
    let visible = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if value.len() > MAX_VALUE || !visible || value.trim() != value {
        return Err(format!(
            "a value has at most {MAX_VALUE} visible ASCII characters"
        ));
    }
    // Outside of the odd parts there are names of Envoy's between two `%`; an empty name is the character itself.
    let parts: Vec<&str> = value.split('%').collect();
    let named = parts.iter().skip(1).step_by(2);
    let known = |part: &&str| part.is_empty() || FORMATS.contains(part) || is_request_header(part);
    if parts.len().is_multiple_of(2) || !named.clone().all(known) {
        return Err(format!(
            "what stands between two % must be one of {} or REQ(name); the character itself is %%",
            FORMATS.join(", ")
        ));
    }
    Ok(())
}

/// `REQ(x-user)`
fn is_request_header(part: &str) -> bool {
    let name = part.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')'));
    name.is_some_and(|name| name == ":authority" || is_token(name))
}
