//! `redirect=`, `respond=`: what the client gets in place of an answer of the service. Pure.

use super::host::is_host;
use super::rewrite::is_path;
use crate::text::clip;

/// The longest body of a response, bytes.
const MAX_BODY: usize = 1_024;
/// Codes of a redirect; Envoy knows no others.
const CODES: [u16; 5] = [301, 302, 303, 307, 308];

/// The client is sent elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redirect {
    /// `http` or `https`; `None`: as it came.
    pub scheme: Option<&'static str>,
    /// `None`: as it came.
    pub host: Option<String>,
    /// `None`: as it came, or that of the scheme.
    pub port: Option<u16>,
    /// `None`: as it came.
    pub path: Option<RedirectPath>,
    /// `None`: 301.
    pub code: Option<u16>,
    /// Without the query.
    pub drop_query: bool,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RedirectPath {
    /// In place of all of it.
    Whole(String),
    /// In place of what the route matches.
    Matched(String),
}

/// Envoy answers by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Plain text; empty: none.
    pub body: String,
}

impl Redirect {
    /// Reads `https:`, `https://www.example.com`, `https://*:8443` (the host as it came),
    /// `//www.example.com:8443/new`, `/new` or `/new*`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`redirect={}` must be https:, https://www.example.com, //www.example.com:8443/new, /new, or /new* to \
                 keep the rest of the path",
                clip(text)
            )
        };
        let (scheme, rest) = match text {
            _ if text.starts_with("https:") => (Some("https"), &text[6..]),
            _ if text.starts_with("http:") => (Some("http"), &text[5..]),
            _ => (None, text),
        };
        let mut redirect = Self {
            scheme,
            ..Self::default()
        };
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let (host, port) = match authority.split_once(':') {
                    Some((host, port)) => {
                        let port = port.parse().ok().filter(|port| *port > 0);
                        (host, Some(port.ok_or_else(bad)?))
                    }
                    None => (authority, None),
                };
                redirect.host = match host {
                    "*" if port.is_some() => None,
                    host if is_host(host) => Some(host.to_ascii_lowercase()),
                    _ => return Err(bad()),
                };
                redirect.port = port;
                path
            }
        };
        redirect.path = match path.strip_suffix('*') {
            _ if path.is_empty() => None,
            Some(path) if is_path(path) => Some(RedirectPath::Matched(path.to_owned())),
            None if is_path(path) => Some(RedirectPath::Whole(path.to_owned())),
            _ => return Err(bad()),
        };
        if redirect == Self::default() {
            return Err(bad());
        }
        Ok(redirect)
    }

    /// Where to, as it is declared.
    pub(super) fn place(&self) -> String {
        let mut text = self
            .scheme
            .map_or_else(String::new, |scheme| format!("{scheme}:"));
        if self.host.is_some() || self.port.is_some() {
            text.extend(["//", self.host.as_deref().unwrap_or("*")]);
        }
        if let Some(port) = self.port {
            text.extend([":", &port.to_string()]);
        }
        match &self.path {
            Some(RedirectPath::Whole(path)) => text += path,
            Some(RedirectPath::Matched(path)) => text.extend([path.as_str(), "*"]),
            None => {}
        }
        text
    }

    /// Reads the value of `redirect-code=`.
    pub(super) fn parse_code(text: &str) -> Result<u16, String> {
        let code = text.parse().ok().filter(|code| CODES.contains(code));
        code.ok_or_else(|| format!("`redirect-code={}` must be 301, 302, 303, 307 or 308", clip(text)))
    }
}

impl Respond {
    /// Reads `404` or `200:hello`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (status, body) = text.split_once(':').unwrap_or((text, ""));
        let status = status.parse().ok().filter(|code| (200..600).contains(code));
        let fits = body.len() <= MAX_BODY && !body.chars().any(char::is_control);
        match status {
            Some(status) if fits => Ok(Self {
                status,
                body: body.to_owned(),
            }),
            _ => Err(format!(
                "`respond={}` must be a status from 200 to 599, and a body of at most {MAX_BODY} bytes after a colon: \
                 404, or \"200:all is well\"",
                clip(text)
            )),
        }
    }

    /// As it is declared.
    pub(super) fn show(&self) -> String {
        match self.body.as_str() {
            "" => self.status.to_string(),
            body => format!("{}:{body}", self.status),
        }
    }
}
