//! What was called, so that calls of the same kind are one: paths differ by what they are about. Pure.

use std::fmt::Write as _;

use crate::text::head;

/// Segments of a path that are distinguished.
const SEGMENTS: usize = 3;

/// A longer segment is no name.
const NAME: usize = 32;

/// Bytes of a method of gRPC.
const METHOD: usize = 200;

/// `shop.Orders/Get` for a call of gRPC, and else `GET /orders/*`: the first three segments, with `*` in place of those
/// that look like ids.
#[must_use]
pub fn method(verb: &str, path: &str, is_grpc: bool) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let called = path.strip_prefix('/').unwrap_or(path);
    if is_grpc || (verb == "POST" && is_call(called)) {
        let visible = |c: char| if c.is_control() { '*' } else { c };
        return head(called, METHOD).chars().map(visible).collect();
    }
    let mut shown = format!("{verb} ");
    let mut segments = called.split('/');
    for segment in segments.by_ref().take(SEGMENTS) {
        let name = if is_name(segment) { segment } else { "*" };
        // Writing into a String does not fail.
        let _ = write!(shown, "/{name}");
    }
    if segments.next().is_some() {
        shown.push_str("/…");
    }
    shown
}

/// `shop.Orders/Get`: a package, a service and a method.
fn is_call(path: &str) -> bool {
    let is_word = |text: &str| {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    path.split_once('/').is_some_and(|(service, method)| {
        service.contains('.') && service.split('.').all(is_word) && is_word(method)
    })
}

/// It is the same for many calls: a short word, with at most two digits, such as `v2` and `oauth2`.
fn is_name(segment: &str) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let digits = segment.chars().filter(char::is_ascii_digit).count();
    let letters = segment.chars().any(|c| c.is_ascii_alphabetic());
    segment.is_empty() || (segment.len() <= NAME && segment.chars().all(may) && letters && digits <= 2)
}

#[cfg(test)]
mod tests {
    use super::method;

    #[test]
    fn calls_of_one_kind_are_one() {
        for (verb, path, shown) in [
            ("GET", "/", "GET /"),
            ("GET", "/orders/17", "GET /orders/*"),
            ("GET", "/v1/orders/17/lines/3?full=1", "GET /v1/orders/*/…"),
            ("DELETE", "/carts/9f31c2ab-77aa/items", "DELETE /carts/*/items"),
            ("GET", "/oauth2/callback?code=secret", "GET /oauth2/callback"),
            ("POST", "/shop.Orders/Get", "shop.Orders/Get"),
            (
                "POST",
                "/grpc.health.v1.Health/Check",
                "grpc.health.v1.Health/Check",
            ),
            ("GET", "/shop.Orders/Get", "GET /shop.Orders/Get"),
            ("POST", "/files/upload", "POST /files/upload"),
            ("GET", "/mail/somebody@example.com", "GET /mail/*"),
            ("GET", "/ü\n", "GET /*"),
            ("", "", " /"),
        ] {
            assert_eq!(method(verb, path, false), shown, "{verb} {path}");
        }
        assert_eq!(method("POST", "/Orders/Get", true), "Orders/Get");
        let long = method("GET", &format!("/{}", "a".repeat(33)), false);
        assert_eq!(long, "GET /*");
    }
}
