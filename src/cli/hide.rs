//! What is left out of texts that are sent to others: values of headers and cookies in routes, credentials in addresses, tokens.
//! Pure.

use regex::{Captures, Regex};

const HIDDEN: &str = "(hidden)";

/// Keys of `bridge.toml` whose strings are no secrets: addresses, names, patterns, words that are ours.
const SHOWN: &[&str] = &[
    "listen",
    "kind",
    "format",
    "address",
    "addresses",
    "endpoints",
    "prefix",
    "prefixes",
    "path",
    "folder",
    "hosts",
    "paths",
    "grpc",
    "exposure",
    "exposures",
    "fleets",
    "services",
    "tags",
    "owners",
    "filter",
    "source",
    "settle",
    "settle_max",
    "shutdown_timeout",
    "max_removal_hold",
    "on_rejected",
    "route",
    "expose",
    "rollout",
    "steps",
    "step_time",
    "grace",
    "linger",
    "datacenter",
    "namespace",
    "partition",
    "san",
    "node_ids",
    "timeout",
    "lb",
    "max_stream_age",
    "max_age",
    "source_memory",
    "wait",
    "region",
    "zone",
    "preferred_address",
];

/// Whether the strings of this key are shown.
pub(super) fn is_shown(key: &str) -> bool {
    SHOWN.contains(&key)
}

/// What is hidden, each with what stays before it.
const PATTERNS: &[&str] = &[
    // Before the words of a route, which end at a space.
    r"(?i-u)(?P<keep>\bbearer\s+)[A-Za-z0-9._~+/=-]+",
    r"(?i-u)(?P<keep>\bbasic\s+)[A-Za-z0-9+/=]{8,}",
    // Words of a route: `set-header=x-key:VALUE`, `header-prefix=!x-key:VALUE`, `cookie=name:VALUE`, `query=key:VALUE`.
    r#"(?P<keep>\b[a-z-]*(?:header|cookie|query)[a-z-]*=!?)\\?"[^"\\]*\\?""#,
    r#"(?P<keep>\b[a-z-]*(?:header|cookie|query)[a-z-]*=!?[^\s:=`"\\]+:)(?:\\.|[^\s`"\\])+"#,
    // What an address is asked.
    r#"(?P<keep>://[^\s?"`]+\?)[^\s"`]+"#,
    // `user:password@` in an address.
    r"(?P<keep>://)[^/\s@]+(?P<after>@)",
    // A signed token (JWT).
    r"(?P<keep>\b)eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    r"(?s)(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?P<after>-----END)",
];

/// Words of a route in the words of an answer, where no quotes say where a value ends: it ends with the text.
const TO_THE_END: &str = r#"(?s)(?P<keep>\b[a-z-]*(?:header|cookie|query)[a-z-]*=!?[^\s:=`"]*:?).*"#;
/// Something that somebody declared and that is wrong.
const QUOTED: &str = "(?s)`[^`]*`?";
/// Sentences that quote such a thing.
const WRONG: [&str; 6] = [
    " is not ",
    " is no ",
    "must be",
    "cannot be read",
    "is twice",
    "not a ",
];

/// An answer in JSON without what may be secret in its texts; what is no JSON as any other text.
pub(super) fn hidden_json(text: &str) -> String {
    fn hide(value: &mut serde_json::Value, in_route: &Regex, quoted: &Regex) {
        match value {
            serde_json::Value::String(text) => {
                if WRONG.iter().any(|words| text.contains(words)) {
                    *text = quoted.replace_all(text, HIDDEN).into_owned();
                }
                let to_the_end =
                    in_route.replace(text, |found: &Captures<'_>| format!("{}{HIDDEN}", &found["keep"]));
                *text = hidden(&to_the_end);
            }
            serde_json::Value::Array(all) => all.iter_mut().for_each(|value| hide(value, in_route, quoted)),
            serde_json::Value::Object(all) => {
                all.values_mut().for_each(|value| hide(value, in_route, quoted));
            }
            _ => {}
        }
    }
    let (Ok(in_route), Ok(quoted)) = (Regex::new(TO_THE_END), Regex::new(QUOTED)) else {
        return String::new();
    };
    match serde_json::from_str(text) {
        Ok(mut value) => {
            hide(&mut value, &in_route, &quoted);
            format!("{value:#}\n")
        }
        Err(_) => hidden(text),
    }
}

/// The text without what may be secret in it.
pub(super) fn hidden(text: &str) -> String {
    let mut text = text.to_owned();
    for pattern in PATTERNS {
        // The test below builds each of them.
        let Ok(regex) = Regex::new(pattern) else { continue };
        let replaced = regex.replace_all(&text, |found: &Captures<'_>| {
            let part = |name| found.name(name).map_or("", |part| part.as_str());
            format!("{}{HIDDEN}{}", part("keep"), part("after"))
        });
        text = replaced.into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_of_routes_and_wrong_values_keeps_no_secret() {
        for text in [
            "path=/ header=authorization:Bearer S3 header=x-key:abc S3two",
            "path=/a header-regex=cookie:(?:.*; ?)?sid=a S3(?:;.*)?",
            "path=/ query=k:S3 method=GET",
            "route: `S3'` is not key=value",
            "rollout-gates: `http://a.x/?token=S3` is not a gate",
            "asks http://a.x/b?token=S3",
        ] {
            let json = serde_json::json!({ "routes": [{ "requests": text }], "n": 7 }).to_string();
            let shown = hidden_json(&json);
            assert!(!shown.contains("S3") && shown.contains(HIDDEN), "{shown}");
        }
        let plain = r#"{"what":"`orders` registered, 10.0.0.1:80 healthy"}"#;
        assert!(hidden_json(plain).contains("`orders` registered, 10.0.0.1:80 healthy"));
        assert_eq!(hidden_json("ready\nBasic c2VjcmV0czE="), "ready\nBasic (hidden)");
    }

    #[test]
    fn what_may_be_secret_is_hidden_and_the_rest_stays() {
        for pattern in PATTERNS {
            Regex::new(pattern).unwrap();
        }
        for (text, wanted) in [
            (
                "host=a.x path=/b header=x-key:S3 method=GET",
                "host=a.x path=/b header=x-key:(hidden) method=GET",
            ),
            (
                "no set-header=authorization:S3` (was",
                "no set-header=authorization:(hidden)` (was",
            ),
            ("header-prefix=!x:S3", "header-prefix=!x:(hidden)"),
            ("query=key:S3", "query=key:(hidden)"),
            (
                r#"{"requests": "path=/ header=x:S3", "to": "a"}"#,
                r#"{"requests": "path=/ header=x:(hidden)", "to": "a"}"#,
            ),
            (
                r#""what": "route `set-header=\"x:S3 S3\" method=GET`""#,
                r#""what": "route `set-header=(hidden) method=GET`""#,
            ),
            ("http://user:S3@host/x", "http://(hidden)@host/x"),
            ("Bearer S3.a-b", "Bearer (hidden)"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "(hidden)"),
            (
                "-----BEGIN PRIVATE KEY-----\nS3\n-----END PRIVATE KEY-----",
                "-----BEGIN PRIVATE KEY-----(hidden)-----END PRIVATE KEY-----",
            ),
            (
                "10.0.0.1:8080 orders/orders-7 is healthy",
                "10.0.0.1:8080 orders/orders-7 is healthy",
            ),
        ] {
            assert_eq!(hidden(text), wanted);
        }
    }
}
