//! Addresses as others write them: `10.0.0.5:9000`, `[fd00::7]:80`, `grpc://10.0.0.5:9000?isSecure=false`.
//! Pure; whether host and port can be connected to is judged by the model.

/// Said of a server that wants TLS.
pub(super) const SECURE: &str = "the server wants TLS (isSecure=true), and clusters here are plaintext";

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Of a URL.
    pub(super) scheme: Option<&'a str>,
    /// IPv6 may still be in brackets.
    pub(super) host: &'a str,
    /// Where one is written; `Err`: it is no number.
    pub(super) port: Option<Result<u64, ()>>,
    /// `isSecure=true` in the query, as kratos writes it: the server wants TLS.
    pub(super) secure: bool,
}

/// Takes an address apart. Anything is an address here; what is none has a strange host.
pub(super) fn parse(text: &str) -> Place<'_> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (authority, query) = match scheme {
        Some(_) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let query = rest[end..].split_once('?').map_or("", |(_, query)| query);
            (&rest[..end], query)
        }
        None => (rest, ""),
    };
    let (host, port) = split(authority);
    Place {
        scheme,
        host,
        port: port.map(|port| port.parse().map_err(|_| ())),
        secure: query.split('&').any(|pair| pair == "isSecure=true"),
    }
}

/// IPv6 without brackets has no port: nobody knows where it would begin.
fn split(authority: &str) -> (&str, Option<&str>) {
    let bare = authority.matches(':').count() > 1 && !authority.starts_with('[');
    match authority.rsplit_once(':') {
        Some((host, port)) if !bare && !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let place = |text| {
            let Place {
                scheme,
                host,
                port,
                secure,
            } = parse(text);
            let port = port.map_or("-".to_owned(), |port| {
                port.map_or("?".to_owned(), |p| p.to_string())
            });
            format!(
                "{} {host} {port}{}",
                scheme.unwrap_or("-"),
                if secure { " tls" } else { "" }
            )
        };
        for (text, wanted) in [
            ("10.0.0.5:9000", "- 10.0.0.5 9000"),
            (" 10.0.0.5:9000\n", "- 10.0.0.5 9000"),
            ("[fd00::7]:80", "- [fd00::7] 80"),
            ("[fd00::7]", "- [fd00::7] -"),
            ("fd00::7", "- fd00::7 -"),
            ("10.0.0.5", "- 10.0.0.5 -"),
            ("10.0.0.5:http", "- 10.0.0.5 ?"),
            ("10.0.0.5:", "- 10.0.0.5 ?"),
            ("", "-  -"),
            (":80", "-  80"),
            ("grpc://10.0.0.5:9000?isSecure=false", "grpc 10.0.0.5 9000"),
            ("http://[::1]:80/a?b=c&isSecure=true", "http [::1] 80 tls"),
            ("http://10.0.0.5/a:b", "http 10.0.0.5 -"),
            ("://", "  -"),
        ] {
            assert_eq!(place(text), wanted, "{text}");
        }
    }
}
