//! What stands in front of every route of an exposure, whatever services declare, and what a service can ask for beside
//! it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::text::{clip, parse_duration, show_duration};

/// The filters of an exposure, in front of each of its routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only these clients; none: all.
    pub allow_ips: Vec<Range>,
    /// Not these clients, even if they are among those above.
    pub deny_ips: Vec<Range>,
    /// All requests together, in each Envoy.
    pub rate_limit: Option<RateLimit>,
    /// Who issues tokens, by name.
    pub jwt: BTreeMap<Arc<str>, Jwt>,
    /// Who is asked whether a request may pass.
    pub authorization: Option<Authorization>,
    /// Responses of all routes are compressed so, unless a route says otherwise.
    pub compress: Vec<Compression>,
    /// The identities of callers.
    pub callers: Arc<Callers>,
    /// Listeners whose clients show no certificates.
    pub anonymous: Vec<Arc<str>>,
    /// A listener of it is inside of Envoy: there addresses are what callers say of themselves.
    pub inner: bool,
    /// `allow` of services is not checked here.
    pub any_caller: bool,
    /// Listeners that stay in Envoy's own file have the filters that routes need.
    pub file_filters: bool,
}

/// Whose addresses a route serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clients {
    /// Only these; none: all that are not below.
    pub allow: Vec<Range>,
    /// Not these, even if they are among those above.
    pub deny: Vec<Range>,
    /// Also by the connection itself, where what callers say of themselves would count.
    pub connection: bool,
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first one.
    pub address: IpAddr,
    /// How many bits are the same.
    pub bits: u8,
}

/// A number of requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// That come back in each `per`.
    pub requests: u32,
    /// At least 50 ms, which is what Envoy takes.
    pub per: Duration,
    /// The most at once.
    pub burst: u32,
}

/// Who issues tokens, and which are good here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// `iss`
    pub issuer: String,
    /// `aud`: at least one of them.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: Keys,
    /// The header that holds nothing but the token; `None`: `Authorization: Bearer …`, or `access_token` in the query.
    pub header: Option<String>,
    /// Each request needs a token of this issuer, or of another one that is required.
    pub require: bool,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In a file on the bridge's machine: by the name of [`super::Secret::jwks_name`].
    File,
    /// Envoy fetches them.
    Remote {
        /// The whole URL.
        url: String,
        /// The cluster that it is asked of.
        service: Arc<str>,
        /// How long they are good.
        cache: Duration,
    },
}

/// Who is asked whether a request may pass (`ext_authz`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The cluster.
    pub service: Arc<str>,
    /// By gRPC (`envoy.service.auth.v3.Authorization`); else by HTTP.
    pub grpc: bool,
    /// For one answer.
    pub timeout: Duration,
    /// A request passes when there is no answer.
    pub open: bool,
    /// HTTP: stands before the path of the request.
    pub path_prefix: String,
    /// HTTP: headers of the request that it gets beside the usual ones.
    pub request_headers: Vec<String>,
    /// HTTP: headers of its answer that the server gets.
    pub upstream_headers: Vec<String>,
}

/// How a response is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// `gzip`
    Gzip,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

/// Identities by the name of a caller: URIs, or `dns:` and a name; `*` stands for one character or more, but no `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Of these.
    pub named: BTreeMap<Arc<str>, Vec<String>>,
    /// Of all others; `{caller}` stands for the name.
    pub others: Vec<String>,
}

impl Callers {
    /// The identities of a caller. None: nobody knows who that is.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<String> {
        match self.named.get(name) {
            Some(identities) => identities.clone(),
            None => self
                .others
                .iter()
                .map(|one| one.replace("{caller}", name))
                .collect(),
        }
    }
}

impl Filters {
    /// Services that Envoy asks by itself: who may pass, and for keys.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        let keys = self.jwt.values().filter_map(|jwt| match &jwt.keys {
            Keys::Remote { service, .. } => Some(service),
            Keys::File => None,
        });
        keys.chain(self.authorization.as_ref().map(|asked| &asked.service))
    }

    /// Something stands in front of requests that connections without requests would not pass.
    #[must_use]
    pub fn refuse(&self) -> bool {
        self.knows_addresses()
            || self.rate_limit.is_some()
            || self.authorization.is_some()
            || self.jwt.values().any(|issuer| issuer.require)
    }

    /// Requests are let through or not by the address of the client.
    #[must_use]
    pub fn knows_addresses(&self) -> bool {
        !self.allow_ips.is_empty() || !self.deny_ips.is_empty()
    }
}

impl Clients {
    /// The list that this word of a route declares.
    #[must_use]
    pub fn shown(&self, word: &str) -> Option<String> {
        let list = if word == "allow-ips" {
            &self.allow
        } else {
            &self.deny
        };
        (!list.is_empty()).then(|| Range::show_all(list))
    }
}

impl Range {
    /// The most of them in one list of a route.
    const MOST: usize = 100;

    /// Reads several, separated by commas.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut all = text.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable();
        all.dedup();
        if all.len() > Self::MOST {
            return Err(format!("a route has at most {} ranges of addresses", Self::MOST));
        }
        Ok(all)
    }

    /// As they are declared.
    #[must_use]
    pub fn show_all(all: &[Self]) -> String {
        let show = |range: &Self| format!("{}/{}", range.address, range.bits);
        all.iter().map(show).collect::<Vec<_>>().join(",")
    }

    /// Reads `10.0.0.0/8`, or one address.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (range, first) = Self::around(text)?;
        if range.address == first {
            return Ok(range);
        }
        Err(format!(
            "`{}`: the range begins at {}/{}",
            clip(text),
            range.address,
            range.bits
        ))
    }

    /// The range that an address lies in, `10.1.2.3/8`, and the address.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn around(text: &str) -> Result<(Self, IpAddr), String> {
        let wrong = || {
            format!(
                "`{}` must be an IP address or a range such as 10.0.0.0/8",
                clip(text)
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        let first = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                return Err(format!("`{}`: write an IPv4 address as such", clip(text)));
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        let range = Self { address: first, bits };
        Ok((range, address))
    }
}

impl RateLimit {
    /// The most requests or tokens.
    pub const MOST: u32 = 10_000_000;
    /// Envoy refuses less.
    pub const SHORTEST: Duration = Duration::from_millis(50);

    /// Reads `100/s`, `100/10s`, or with the most at once, `100/s:500`.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` must be requests per time, such as 100/s, 1000/10s, or 100/s:500 for 500 at once (50ms at least, \
                 {} requests at most)",
                clip(text),
                Self::MOST
            )
        };
        let (requests, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (per, burst) = match rest.split_once(':') {
            Some((per, burst)) => (per, Some(burst)),
            None => (rest, None),
        };
        let number = |text: &str| -> Option<u32> {
            let number = text
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())?;
            number.filter(|number| (1..=Self::MOST).contains(number))
        };
        let requests = number(requests).ok_or_else(wrong)?;
        let burst = burst.map_or(Some(requests), number).ok_or_else(wrong)?;
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            parse_duration(per)
        } else {
            parse_duration(&format!("1{per}"))
        };
        let per = per.map_err(|_| wrong())?;
        if per < Self::SHORTEST || burst < requests {
            return Err(wrong());
        }
        Ok(Self { requests, per, burst })
    }

    /// As it is declared.
    #[must_use]
    pub fn show(&self) -> String {
        let Self { requests, per, burst } = self;
        let per = match per.as_millis() {
            1_000 => "s".to_owned(),
            60_000 => "m".to_owned(),
            3_600_000 => "h".to_owned(),
            _ => show_duration(*per),
        };
        if burst == requests {
            format!("{requests}/{per}")
        } else {
            format!("{requests}/{per}:{burst}")
        }
    }
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Brotli];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        }
    }

    /// Reads one word.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("`{}` must be gzip, brotli or zstd", clip(text)))
    }

    /// Reads several, separated by commas, or `none`.
    ///
    /// # Errors
    /// A sentence with what would be right.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        if text == "none" {
            return Ok(Vec::new());
        }
        let mut all = text.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// As they are declared.
    #[must_use]
    pub fn show_all(all: &[Self]) -> String {
        match all {
            [] => "none".to_owned(),
            all => all.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(","),
        }
    }
}

/// The name of an issuer of tokens, as `bridge.toml` has it.
///
/// # Errors
/// A sentence with what would be right.
pub fn parse_issuer(text: &str) -> Result<String, String> {
    let right = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    right.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`jwt={}` must be the name of a [exposures.EXPOSURE.jwt.NAME] in bridge.toml",
            clip(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_as_they_are_read() {
        for text in ["100/s", "1/m", "5/h:7", "100/50ms", "1000/10s:2000"] {
            assert_eq!(
                RateLimit::parse(text).map(|limit| limit.show()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(RateLimit::parse("9/1s"), RateLimit::parse("9/s"));
        for wrong in [
            "",
            "100",
            "100/",
            "/s",
            "0/s",
            "100/s:99",
            "100/s:",
            "1/49ms",
            "+1/s",
            "100/d",
            "20000000/s",
            "1/0s",
        ] {
            let error = RateLimit::parse(wrong).unwrap_err();
            assert!(error.contains("such as 100/s"), "{error}");
        }
    }

    #[test]
    fn ranges_begin_where_they_say() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "10.1.2.3",
            "2001:db8::/32",
            "::1",
        ] {
            assert!(Range::parse(text).is_ok(), "{text}");
        }
        for (wrong, words) in [
            ("10.0.0.1/8", "begins at 10.0.0.0/8"),
            ("2001:db8::1/32", "begins at 2001:db8::/32"),
            ("10.0.0.0/33", "must be an IP address"),
            ("10.0.0.0/", "must be an IP address"),
            ("host", "must be an IP address"),
            ("::ffff:10.0.0.1", "write an IPv4 address"),
        ] {
            let error = Range::parse(wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_caller_without_a_line_of_its_own_has_the_identity_of_all_others() {
        let callers = Callers {
            named: [(Arc::from("web"), vec!["dns:web.shop".to_owned()])].into(),
            others: vec!["spiffe://shop/{caller}".to_owned()],
        };
        assert_eq!(callers.of("web"), ["dns:web.shop"]);
        assert_eq!(callers.of("edge"), ["spiffe://shop/edge"]);
        assert!(Callers::default().of("web").is_empty());
    }
}
