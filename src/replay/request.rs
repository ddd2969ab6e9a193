//! A request in the words of a command line: `GET https://api.example.com/orders/7 -H x-canary:1`. Pure.

use crate::text::clip;

/// The longest text of a request, bytes.
const LONGEST: usize = 16 << 10;

/// A request as it comes to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`
    pub method: String,
    /// It comes by TLS.
    pub tls: bool,
    /// Lower case, without the port.
    pub host: String,
    /// `None`: the URL names none.
    pub port: Option<u16>,
    /// Begins with a slash; dot segments and double slashes are resolved, as our listeners do it.
    pub path: String,
    /// Without the question mark.
    pub query: Option<String>,
    /// Names in lower case, each with its value.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// Reads `[METHOD] URL [-H NAME:VALUE]…`, as curl's users write it; the method `GRPC` is a call of gRPC.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the request is longer than {LONGEST} bytes"));
        }
        let mut words = split(text)?.into_iter().peekable();
        let is_method = |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
        let method = words.next_if(is_method).unwrap_or_else(|| "GET".to_owned());
        let url = words.next().ok_or_else(|| {
            "a request is `GET https://api.example.com/orders/7 -H x-canary:1`; the URL is missing".to_owned()
        })?;
        let mut request = Self::of_url(&url)?;
        request.method = method;
        if request.method == "GRPC" {
            "POST".clone_into(&mut request.method);
            let json = ("content-type".to_owned(), "application/grpc".to_owned());
            request.headers.push(json);
        }
        while let Some(word) = words.next() {
            let header = match word.strip_prefix("-H").or_else(|| word.strip_prefix("--header")) {
                Some("") => words.next(),
                Some(rest) => Some(rest.trim_start_matches('=').to_owned()),
                None => {
                    return Err(format!(
                        "`{}` is no part of a request: after the URL only -H NAME:VALUE may follow",
                        clip(&word)
                    ));
                }
            };
            let header = header.unwrap_or_default();
            let Some((name, value)) = header.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                return Err(format!("the header `{}` must be NAME:VALUE", clip(&header)));
            };
            let name = name.trim().to_ascii_lowercase();
            if name == "host" {
                (request.host, request.port) = authority(value.trim())?;
            } else {
                request.headers.push((name, value.trim().to_owned()));
            }
        }
        Ok(request)
    }

    fn of_url(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let tls = match scheme {
            "http" => false,
            "https" => true,
            other => return Err(format!("`{}://` must be http:// or https://", clip(other))),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (place, rest) = rest.split_at(end);
        let (host, port) = authority(place)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        Ok(Self {
            method: "GET".to_owned(),
            tls,
            host,
            port,
            path: normal(path),
            query,
            headers: Vec::new(),
        })
    }

    /// A header's values with commas, or a part of the request line. `None`: it has none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        match name {
            ":method" => Some(self.method.clone()),
            ":path" => Some(self.target()),
            ":authority" | "host" => Some(match self.port {
                Some(port) => format!("{}:{port}", self.host),
                None => self.host.clone(),
            }),
            ":scheme" => Some(if self.tls { "https" } else { "http" }.to_owned()),
            name => {
                let values = self.headers.iter().filter(|(header, _)| header == name);
                let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
                (!values.is_empty()).then(|| values.join(","))
            }
        }
    }

    /// The path and the query.
    #[must_use]
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The first value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let parameters = self.query.as_deref()?.split('&');
        parameters
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

fn authority(text: &str) -> Result<(String, Option<u16>), String> {
    let bad = || format!("`{}` must be a host, with a port or without", clip(text));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| bad())?)),
        _ => (text, None),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() || host.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(bad());
    }
    Ok((host, port))
}

/// Without double slashes and dot segments.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut open = true;
    for part in path.split('/') {
        open = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut normal = String::from("/");
    normal += &parts.join("/");
    if open && normal.len() > 1 {
        normal.push('/');
    }
    normal
}

/// Words as a shell splits them: quotes of both kinds hold words together.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote in the request is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_for_curl() {
        let text = "POST https://API.example.com:8443/a//b/../c/?x=1&y#z -H 'x-canary: 1' -Hcookie:a=b --header=x-b:2";
        let request = Request::parse(text).unwrap();
        assert_eq!(
            request,
            Request {
                method: "POST".to_owned(),
                tls: true,
                host: "api.example.com".to_owned(),
                port: Some(8443),
                path: "/a/c/".to_owned(),
                query: Some("x=1&y".to_owned()),
                headers: vec![
                    ("x-canary".to_owned(), "1".to_owned()),
                    ("cookie".to_owned(), "a=b".to_owned()),
                    ("x-b".to_owned(), "2".to_owned()),
                ],
            }
        );
        assert_eq!(request.parameter("x"), Some("1"));
        assert_eq!(request.parameter("y"), Some(""));
        assert_eq!(
            request.header(":authority").as_deref(),
            Some("api.example.com:8443")
        );
    }

    #[test]
    fn what_is_left_out_is_the_usual() {
        let request = Request::parse("orders").unwrap();
        assert_eq!(
            (&*request.method, request.tls, &*request.host, &*request.path),
            ("GET", false, "orders", "/")
        );
        let call = Request::parse("GRPC http://orders/shop.Orders/Get").unwrap();
        assert_eq!(call.method, "POST");
        assert_eq!(call.header("content-type").as_deref(), Some("application/grpc"));
        let host = Request::parse("GET http://127.0.0.1:10000/ -H 'Host: api.x'").unwrap();
        assert_eq!((&*host.host, host.port), ("api.x", None));
    }

    #[test]
    fn what_is_no_request_says_what_would_be_one() {
        for (text, part) in [
            ("", "URL is missing"),
            ("GET", "URL is missing"),
            ("GET ftp://x/", "http://"),
            ("GET http://x:no/", "host"),
            ("GET http://x/ -H nothing", "NAME:VALUE"),
            ("GET http://x/ -d 1", "-H NAME:VALUE"),
            ("GET 'http://x/", "quote"),
        ] {
            let error = Request::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
