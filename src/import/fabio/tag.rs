//! `urlprefix-HOST/PATH option=value …`. Pure.

use std::collections::BTreeMap;

/// A tag, read.
#[derive(Debug)]
pub(super) struct Tag {
    /// In lower case, maybe with a port or a pattern; empty: each host.
    pub(super) host: String,
    /// From its first slash on; something else only without a host.
    pub(super) path: String,
    options: BTreeMap<String, String>,
}

impl Tag {
    /// Before the first option there is a blank, between options any white space.
    pub(super) fn read(text: &str, datacenter: &str) -> Self {
        let (route, options) = text.split_once(' ').unwrap_or((text, ""));
        let route = expanded(route, datacenter);
        let (host, path) = match route.find('/') {
            Some(at) => route.split_at(at),
            None if route.starts_with(':') => ("", route.as_str()),
            None => (route.as_str(), "/"),
        };
        Self {
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
            options: self::options(options),
        }
    }

    /// Of a command, where nothing is expanded.
    pub(super) fn of_command(source: &str, options: BTreeMap<String, String>) -> Self {
        let (host, path) = match source.find('/') {
            Some(at) => source.split_at(at),
            None if source.starts_with(':') => ("", source),
            None => (source, "/"),
        };
        Self {
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
            options,
        }
    }

    /// What commands name it by.
    pub(super) fn source(&self) -> String {
        format!("{}{}", self.host, self.path)
    }

    pub(super) fn protects(&self) -> bool {
        ["allow", "deny", "auth"]
            .iter()
            .any(|name| self.options.contains_key(*name))
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A share of the route's requests; 0 and less are none.
    pub(super) fn weight(&self) -> Option<f64> {
        let weight = self.option("weight")?.parse::<f64>().ok();
        weight.filter(|weight| weight.is_finite() && *weight > 0.0)
    }
}

/// `name=value`, by white space.
pub(super) fn options(text: &str) -> BTreeMap<String, String> {
    let option = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    };
    text.split_whitespace().map(option).collect()
}

/// `$DC` and `${DC}` are the datacenter, any other variable is nothing.
fn expanded(text: &str, datacenter: &str) -> String {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        all += before;
        let (name, left) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                after.split_at(end.unwrap_or(after.len()))
            }
        };
        if name == "DC" {
            all += datacenter;
        }
        rest = left;
    }
    all + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_host_a_path_and_options() {
        let tag = Tag::read("A.x:80/foo/$DC  strip=/foo\tweight=0.2", "dc1");
        assert_eq!((tag.host.as_str(), tag.path.as_str()), ("a.x:80", "/foo/dc1"));
        assert_eq!((tag.option("strip"), tag.weight()), (Some("/foo"), Some(0.2)));
        let place = |text| {
            let tag = Tag::read(text, "dc1");
            (tag.host, tag.path)
        };
        assert_eq!(place("a.x"), ("a.x".into(), "/".into()));
        assert_eq!(place(":80"), (String::new(), ":80".into()));
        assert_eq!(place("${DC}.x/$NO/y"), ("dc1.x".into(), "//y".into()));
    }
}
