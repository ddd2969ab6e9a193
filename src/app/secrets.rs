//! The files of `[tls.NAME]`, read again when they change. A new content that cannot be used leaves the old one in
//! force; what was never readable is not served, and Envoys wait for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SecretFiles};
use crate::files::{PemError, PemFile, Steady, fingerprint, jwks, read_small, seen, usable_pair};
use crate::hub::Order;
use crate::model::{Secret, Secrets};
use crate::text::chain;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The files of one name at one time.
struct Contents {
    identity: Option<(PemFile, PemFile)>,
    ca: Option<PemFile>,
    jwks: Option<PemFile>,
}

impl Contents {
    fn read(files: &SecretFiles) -> Result<Self, PemError> {
        let pair =
            |(certificate, key): &(PathBuf, PathBuf)| Ok((PemFile::read(certificate)?, PemFile::read(key)?));
        Ok(Self {
            identity: files.identity.as_ref().map(pair).transpose()?,
            ca: files.ca.as_deref().map(PemFile::read).transpose()?,
            jwks: files.jwks.as_deref().map(PemFile::read).transpose()?,
        })
    }

    fn fingerprint(&self) -> u128 {
        let pair = self
            .identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        fingerprint(pair.chain(&self.ca).chain(&self.jwks))
    }

    /// What Envoy can use.
    fn secret(&self) -> Result<Secret, PemError> {
        let identity = match &self.identity {
            Some((certificate, key)) => {
                usable_pair(certificate, key)?;
                Some((certificate.chain_only()?, key.key_only()?))
            }
            None => None,
        };
        let ca = match &self.ca {
            Some(ca) => {
                ca.roots()?;
                Some(ca.chain_only()?)
            }
            None => None,
        };
        Ok(Secret {
            identity: identity.map(|(chain, key)| (chain.into(), key.into())),
            ca: ca.map(Into::into),
            jwks: self.jwks.as_ref().map(jwks::usable).transpose()?.map(Into::into),
        })
    }
}

/// What is known of one name's files.
struct Followed {
    files: SecretFiles,
    steady: Steady,
}

/// Why the token of the admin port cannot be used now; `None`: it can, or there is none.
#[must_use]
pub fn unusable_token(config: &Config) -> Option<String> {
    let file = config.admin.token_file.as_ref()?;
    let problem = match read_small(file) {
        Err(error) => error.to_string(),
        Ok(bytes) if bytes.trim_ascii().is_empty() => "it is empty".to_owned(),
        // A header carries nothing else, and commands read it as text.
        Ok(bytes) if !bytes.trim_ascii().iter().all(u8::is_ascii_graphic) => {
            "it must be one word of visible ASCII characters".to_owned()
        }
        Ok(_) => return None,
    };
    Some(format!("{}: {problem}", file.display()))
}

/// What of `[tls.NAME]`, and of the keys of issuers, cannot be used now, with the reason.
#[must_use]
pub fn unusable(config: &Config) -> Vec<(String, String)> {
    let reason = |files: &SecretFiles| Contents::read(files).and_then(|contents| contents.secret()).err();
    let named = |name: Arc<str>| {
        if config.tls.contains_key(&name) {
            format!("tls.{name}")
        } else {
            name.replace('/', ".")
        }
    };
    let all = config.secrets().into_iter();
    all.filter_map(|(name, files)| Some((named(name), chain(&reason(&files)?))))
        .collect()
}

/// What the files hold now, for the first generation; what is wrong with one is logged, and what was known of it stays.
fn first(
    files: &BTreeMap<Arc<str>, SecretFiles>,
    known: &Secrets,
) -> (BTreeMap<Arc<str>, Followed>, Secrets) {
    let (mut followed, mut secrets) = (BTreeMap::new(), Secrets::new());
    for (name, files) in files {
        let contents = Contents::read(files);
        let seen = seen(&contents, Contents::fingerprint);
        match contents.and_then(|contents| contents.secret()) {
            Ok(secret) => drop(secrets.insert(name.clone(), secret)),
            Err(error) => {
                let before = known.get(name).filter(|secret| {
                    secret.fits(files.identity.is_some(), files.ca.is_some(), files.jwks.is_some())
                });
                tracing::error!(
                    tls = &**name,
                    error = chain(&error),
                    served = before.is_some(),
                    "cannot be used: what was served of it stays, and it is tried again when the files change"
                );
                secrets.extend(before.map(|secret| (name.clone(), secret.clone())));
            }
        }
        let steady = Steady::new(seen);
        let files = files.clone();
        followed.insert(name.clone(), Followed { files, steady });
    }
    (followed, secrets)
}

/// Looks at each; true when there is news.
fn look(followed: &mut BTreeMap<Arc<str>, Followed>, secrets: &mut Secrets) -> bool {
    let mut news = false;
    for (name, known) in followed {
        let contents = Contents::read(&known.files);
        let seen = seen(&contents, Contents::fingerprint);
        if !known.steady.is_news(seen) {
            continue;
        }
        match contents.and_then(|contents| contents.secret()) {
            Ok(secret) => {
                tracing::info!(tls = &**name, "new certificates: Envoys get them");
                news |= secrets.insert(name.clone(), secret.clone()) != Some(secret);
            }
            Err(error) => tracing::error!(
                tls = &**name,
                error = chain(&error),
                "new certificates cannot be used: the old ones stay"
            ),
        }
    }
    news
}

/// Follows the files until `stop`; the hub gets what they hold.
pub(super) async fn follow(
    files: BTreeMap<Arc<str>, SecretFiles>,
    known: Arc<Mutex<Secrets>>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
) {
    let before = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Ok((mut followed, mut secrets)) = tokio::task::spawn_blocking(move || first(&files, &before)).await
    else {
        return;
    };
    let mut news = true;
    loop {
        if std::mem::take(&mut news) {
            let secrets = secrets.clone();
            known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&secrets);
            if orders.send(Order::Secrets { secrets }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let news = look(&mut followed, &mut secrets);
            (followed, secrets, news)
        });
        match looked.await {
            Ok(seen) => (followed, secrets, news) = seen,
            Err(_) => return,
        }
    }
}
