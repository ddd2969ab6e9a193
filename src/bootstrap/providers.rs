//! Files by which gRPC's own clients speak TLS to services: `certificate_providers` of their bootstrap (gRFC A29), one
//! for each `[tls.NAME]` that services name. The files are on the client's machine: they are named here, and never opened.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::model::cluster::Tls;

/// Clients look at their files again after this time. gRPC's default is ten minutes; without any, Node refuses the
/// whole bootstrap.
const REFRESH: &str = "60s";

/// `NAME=CA[,CERT,KEY]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    name: String,
    ca: String,
    /// Certificate and key.
    pair: Option<[String; 2]>,
}

/// What does not fit bridge.toml.
#[derive(Debug, thiserror::Error)]
pub enum ProviderMistake {
    /// Envoy has SDS.
    #[error("--tls is for --for grpc: an Envoy gets what [tls.NAME] holds from the bridge")]
    Envoy,
    /// No service can name it.
    #[error(
        "--tls {0}: bridge.toml has no [tls.{0}] with a ca, so no service can name it; there are: {1}, and `system` \
         for services that name none"
    )]
    Unknown(String, String),
    /// The same name twice.
    #[error("--tls {0} is given twice")]
    Twice(String),
    /// Servers ask for one.
    #[error(
        "[tls.{0}] has a certificate, which clients show to servers: say which one this client shows, \
         --tls {0}=CA,CERT,KEY"
    )]
    NoPair(String),
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` must be NAME=CA or NAME=CA,CERT,KEY, the name of a [tls.NAME] in bridge.toml (or `system`) and PEM \
                 files on the client's machine, as in shop=tls/shop-ca.pem"
            )
        };
        let (name, files) = text.split_once('=').ok_or_else(bad)?;
        let files: Vec<&str> = files.split(',').collect();
        if name.is_empty() || files.iter().any(|file| file.is_empty()) {
            return Err(bad());
        }
        let (ca, pair) = match files[..] {
            [ca] => (ca, None),
            [ca, certificate, key] => (ca, Some([certificate.to_owned(), key.to_owned()])),
            _ => return Err(bad()),
        };
        Ok(Self {
            name: name.to_owned(),
            ca: ca.to_owned(),
            pair,
        })
    }
}

impl Provider {
    /// Whether a certificate can be shown.
    pub(super) const fn has_pair(&self) -> bool {
        self.pair.is_some()
    }

    fn json(&self) -> Value {
        let mut config = json!({ "ca_certificate_file": self.ca, "refresh_interval": REFRESH });
        if let Some([certificate, key]) = &self.pair {
            config["certificate_file"] = json!(certificate);
            config["private_key_file"] = json!(key);
        }
        json!({ "plugin_name": "file_watcher", "config": config })
    }
}

/// All of them, as they stand in a bootstrap; `secrets`: names of `[tls.NAME]` with a CA, and whether with a certificate.
pub(super) fn all(
    providers: &[Provider],
    secrets: &BTreeMap<Arc<str>, bool>,
) -> Result<Map<String, Value>, ProviderMistake> {
    let mut all = Map::new();
    for provider in providers {
        let name = &provider.name;
        match secrets.get(&**name) {
            Some(true) if !provider.has_pair() => return Err(ProviderMistake::NoPair(name.clone())),
            Some(_) => {}
            None if *name == Tls::default().provider() => {}
            None => {
                let known: Vec<&str> = secrets.keys().map(|known| &**known).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(ProviderMistake::Unknown(name.clone(), known));
            }
        }
        if all.insert(name.clone(), provider.json()).is_some() {
            return Err(ProviderMistake::Twice(name.clone()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(texts: &[&str]) -> Result<Value, String> {
        let secrets = BTreeMap::from([("bare".into(), false), ("shop".into(), true)]);
        let providers: Vec<Provider> = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        all(&providers, &secrets)
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn files_become_providers() {
        let wanted = json!({
            "bare": { "plugin_name": "file_watcher", "config": {
                "ca_certificate_file": "a.pem", "refresh_interval": "60s" } },
            "shop": { "plugin_name": "file_watcher", "config": {
                "ca_certificate_file": "b.pem", "refresh_interval": "60s",
                "certificate_file": "c.pem", "private_key_file": "k.pem" } },
            "system": { "plugin_name": "file_watcher", "config": {
                "ca_certificate_file": "/etc/ssl/all.crt", "refresh_interval": "60s" } },
        });
        let given = ["bare=a.pem", "shop=b.pem,c.pem,k.pem", "system=/etc/ssl/all.crt"];
        assert_eq!(made(&given), Ok(wanted));
        assert_eq!(made(&[]), Ok(json!({})));
    }

    #[test]
    fn a_slip_says_what_would_be_right() {
        for (given, words) in [
            (&["shop"][..], "NAME=CA,CERT,KEY"),
            (&["=a.pem"], "NAME=CA"),
            (&["shop=a.pem,b.pem"], "NAME=CA,CERT,KEY"),
            (&["shop=a.pem,,k.pem"], "NAME=CA,CERT,KEY"),
            (&["shop=a.pem"], "--tls shop=CA,CERT,KEY"),
            (&["shops=a.pem"], "no [tls.shops] with a ca"),
            (&["shops=a.pem"], "there are: bare, shop"),
            (&["bare=a.pem", "bare=b.pem"], "twice"),
        ] {
            let error = made(given).unwrap_err();
            assert!(error.contains(words), "{given:?}: {error}");
        }
    }
}
