//! `tls`: connections to servers are encrypted, and only a server with the right certificate gets requests.

use std::fmt;
use std::sync::Arc;

use super::words::{self, Shown};
use crate::text::clip;

const WORDS: [&str; 2] = ["sni", "san"];
/// Whom Envoy's own machine trusts, in place of a `[tls.NAME]`.
const SYSTEM: &str = "system";

/// How a server proves who it is, and Envoy to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// `[tls.NAME]` of bridge.toml: the CA, and maybe the certificate that Envoy shows. `None`: `system`.
    pub name: Option<Arc<str>>,
    /// `sni=`: the host that Envoy asks for; `None`: the name of the service.
    pub sni: Option<String>,
    /// `san=`: the name that the certificate must have, a host or a URI; `None`: that of `sni`.
    pub san: Option<String>,
}

impl Tls {
    /// Of a service whose declaration cannot be read: no server is trusted.
    #[must_use]
    pub fn unreadable() -> Self {
        Self {
            name: Some("(unreadable)".into()),
            ..Self::default()
        }
    }

    /// By which name a client of gRPC finds the files in its bootstrap.
    #[must_use]
    pub fn provider(&self) -> &str {
        self.name.as_deref().unwrap_or(SYSTEM)
    }

    /// Reads `shop`, `shop sni=orders.example.com`, `system sni=api.example.com san=…`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` must begin with the name of a [tls.NAME] in bridge.toml, or with `system` (whom Envoy's machine \
                 trusts), as in shop sni=orders.example.com",
                clip(text)
            )
        };
        let mut all = text.split_whitespace();
        let name = all.next().ok_or_else(bad)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.len() > 64 || !name.bytes().all(plain) {
            return Err(bad());
        }
        let mut tls = Self {
            name: (name != SYSTEM).then(|| name.into()),
            ..Self::default()
        };
        words::read(all, &WORDS, |word, value| {
            let host = |text: &str| {
                let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                (1..=253).contains(&text.len()) && text.bytes().all(fits)
            };
            let uri = |text: &str| {
                text.contains("://") && text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic())
            };
            match word {
                "sni" if host(value) => tls.sni = Some(value.to_owned()),
                "san" if host(value) || uri(value) => tls.san = Some(value.to_owned()),
                _ => {
                    return Err(format!(
                        "`{word}={}` must be a host, or for san= a URI such as spiffe://shop/orders",
                        clip(value)
                    ));
                }
            }
            Ok(())
        })?;
        Ok(tls)
    }
}

/// As it is declared.
impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Shown::head(self.provider())
            .word("sni", self.sni.as_ref(), Clone::clone)
            .word("san", self.san.as_ref(), Clone::clone);
        f.write_str(&text.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_it_is_declared_and_wrong_ones_say_what_would_be_right() {
        for text in [
            "shop",
            "system sni=api.x",
            "shop sni=a.x san=spiffe://shop/orders",
        ] {
            assert_eq!(Tls::parse(text).unwrap().to_string(), text);
        }
        for (text, word) in [
            ("", "[tls.NAME]"),
            ("Shop", "[tls.NAME]"),
            ("shop sni=a:80", "must be a host"),
            ("shop name=x", "not known"),
            ("shop san=a b=c", "not known"),
        ] {
            let error = Tls::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
