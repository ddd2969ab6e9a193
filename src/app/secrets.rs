//! The files of `[tls.NAME]`, read again when they change. A new content that cannot be used leaves the old one in
//! force; what was never readable is not served, and Envoys wait for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SecretFiles};
use crate::files::{PemError, PemFile, Steady, fingerprint, usable_pair};
use crate::hub::Order;
use crate::model::{Secret, Secrets};
use crate::text::chain;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The files of one name at one time.
struct Contents {
    identity: Option<(PemFile, PemFile)>,
    ca: Option<PemFile>,
}

impl Contents {
    fn read(files: &SecretFiles) -> Result<Self, PemError> {
        let pair =
            |(certificate, key): &(PathBuf, PathBuf)| Ok((PemFile::read(certificate)?, PemFile::read(key)?));
        Ok(Self {
            identity: files.identity.as_ref().map(pair).transpose()?,
            ca: files.ca.as_deref().map(PemFile::read).transpose()?,
        })
    }

    fn fingerprint(&self) -> u128 {
        let pair = self
            .identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        fingerprint(Ok(pair.chain(&self.ca)))
    }

    /// What Envoy can use.
    fn secret(&self) -> Result<Secret, PemError> {
        if let Some((certificate, key)) = &self.identity {
            usable_pair(certificate, key)?;
        }
        if let Some(ca) = &self.ca {
            ca.roots()?;
        }
        let bytes = |file: &PemFile| -> Arc<[u8]> { file.bytes().into() };
        Ok(Secret {
            identity: self
                .identity
                .as_ref()
                .map(|(chain, key)| (bytes(chain), bytes(key))),
            ca: self.ca.as_ref().map(bytes),
        })
    }
}

/// What is known of one name's files.
struct Followed {
    files: SecretFiles,
    steady: Steady,
}

/// What of `[tls.NAME]` cannot be used now, with the reason.
#[must_use]
pub fn unusable(config: &Config) -> Vec<(Arc<str>, String)> {
    let reason = |files| Contents::read(files).and_then(|contents| contents.secret()).err();
    let all = config.tls.iter();
    all.filter_map(|(name, files)| Some((name.clone(), chain(&reason(files)?))))
        .collect()
}

/// What the files hold now, for the first generation; what is wrong with one is logged.
fn first(files: &BTreeMap<Arc<str>, SecretFiles>) -> (BTreeMap<Arc<str>, Followed>, Secrets) {
    let (mut followed, mut secrets) = (BTreeMap::new(), Secrets::new());
    for (name, files) in files {
        let contents = Contents::read(files);
        let seen = contents
            .as_ref()
            .map_or_else(|e| fingerprint(Err::<[_; 0], _>(e)), Contents::fingerprint);
        match contents.and_then(|contents| contents.secret()) {
            Ok(secret) => drop(secrets.insert(name.clone(), secret)),
            Err(error) => tracing::error!(
                tls = &**name,
                error = chain(&error),
                "cannot be used: not served, and tried again when the files change"
            ),
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
        let seen = contents
            .as_ref()
            .map_or_else(|e| fingerprint(Err::<[_; 0], _>(e)), Contents::fingerprint);
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
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
) {
    let Ok((mut followed, mut secrets)) = tokio::task::spawn_blocking(move || first(&files)).await else {
        return;
    };
    let mut news = true;
    loop {
        if std::mem::take(&mut news) {
            let secrets = secrets.clone();
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
