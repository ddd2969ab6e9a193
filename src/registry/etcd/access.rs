//! How a member is reached: its certificate, ours, and who we are. The files are read at each new
//! connection, so that what was rotated is used. Never keeps a password or a key, never logs one.

use std::path::PathBuf;
use std::sync::Arc;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use rustls::{ClientConfig, RootCertStore};

use super::error::Error;
use super::{CALL_TIMEOUT, CONNECT_TIMEOUT, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT};
use crate::files::{PemError, PemFile, read_small_aside};

/// What each connection of a source is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `None`: nobody, or whom our certificate names.
    pub login: Option<Login>,
    /// For `https://`; of no effect for `http://`.
    pub tls: Tls,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// etcd's name of us.
    pub user: String,
    /// The password; a line break at its end does not count.
    pub password_file: PathBuf,
}

/// Whom we trust, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM; `None`: the machine's own roots.
    pub ca: Option<PathBuf>,
    /// PEM chain, leaf first, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the member's certificate, where it is not that of the address.
    pub server_name: Option<String>,
}

impl Access {
    /// Looks whether the files can be used; connects to nothing.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Pem`]
    pub async fn look_at_files(&self) -> Result<(), Error> {
        self.tls.clone().read_aside().await?;
        if let Some(login) = &self.login {
            login.password().await?;
        }
        Ok(())
    }

    /// What a connection to this endpoint is made with, but for the user.
    ///
    /// # Errors
    /// [`Error::Pem`]
    pub(super) async fn options(&self, endpoint: &str) -> Result<ConnectOptions, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(CALL_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member that lost its leader would go on to serve a silent watch.
            .with_require_leader(true);
        Ok(if endpoint.starts_with("https:") {
            options.with_tls(self.tls.clone().read_aside().await?)
        } else {
            options
        })
    }
}

impl Login {
    /// The password of now.
    ///
    /// # Errors
    /// [`Error::File`]
    pub(super) async fn password(&self) -> Result<String, Error> {
        let wrong = |reason: String| Error::File {
            path: self.password_file.clone(),
            reason,
        };
        let read = read_small_aside(&self.password_file).await;
        let bytes = read.map_err(|error| wrong(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(wrong("it is empty and must hold the password".to_owned())),
            password => Ok(password.to_owned()),
        }
    }
}

impl Tls {
    /// The options where waiting for a disk would keep others waiting.
    async fn read_aside(self) -> Result<TlsOptions, Error> {
        let reading = tokio::task::spawn_blocking(move || self.options());
        let done = reading.await.map_err(|error| Error::Unavailable {
            reason: error.to_string(),
        })?;
        Ok(done?)
    }

    fn options(&self) -> Result<TlsOptions, PemError> {
        let mut options = TlsOptions::new().timeout(CONNECT_TIMEOUT);
        options = match &self.ca {
            Some(path) => {
                let file = PemFile::read(path)?;
                // The client library passes over what it cannot parse: then nobody would be trusted, and
                // nothing would say why.
                file.roots()?;
                options.ca_certificate(Certificate::from_pem(file.bytes()))
            }
            None => options.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            let (certificate, key) = (PemFile::read(certificate)?, PemFile::read(key)?);
            fits(&certificate, &key)?;
            options = options.identity(Identity::from_pem(certificate.bytes(), key.bytes()));
        }
        Ok(match &self.server_name {
            Some(name) => options.domain_name(name),
            None => options,
        })
    }
}

/// Whether certificate and key belong together: the error names their files.
fn fits(certificate: &PemFile, key: &PemFile) -> Result<(), PemError> {
    let (chain, secret) = (certificate.certificates()?, key.key()?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, secret));
    pair.map(drop).map_err(|source| PemError::Pair {
        certificate: certificate.path().to_owned(),
        key: key.path().to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["etcd.test".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn each_wrong_file_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ((chain, key), (_, other)) = (pair(), pair());
        let identity = |name: &str, certificate: &str, key: &str| Tls {
            identity: Some((file(name, certificate), file(&format!("{name}-key"), key))),
            ..Tls::default()
        };
        let ca = |path| Tls {
            ca: Some(path),
            ..Tls::default()
        };
        for (tls, name, word) in [
            (ca(folder.path().join("none")), "none", "reading"),
            (ca(file("text", "hello")), "text", "holds no certificate"),
            (ca(file("key", &key)), "key", "holds no certificate"),
            (identity("other", &chain, &other), "other", "be used together"),
            (
                identity("swapped", &chain, &chain),
                "swapped-key",
                "holds no private key",
            ),
            (identity("no", &key, &key), "no", "holds no certificate"),
        ] {
            let text = tls.options().unwrap_err().to_string();
            let path = folder.path().join(name).display().to_string();
            assert!(
                text.contains(&format!("{path} ")) || text.ends_with(&path),
                "{text}"
            );
            assert!(text.contains(word), "{text}");
            assert!(!text.contains(&key[30..60]), "{text}");
        }
        assert!(identity("right", &chain, &key).options().is_ok());
        assert!(ca(file("ca", &chain)).options().is_ok());
    }

    #[tokio::test]
    async fn a_password_is_read_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let login = Login {
            user: "bridge".to_owned(),
            password_file: folder.path().join("password"),
        };
        let gone = login.password().await.unwrap_err().to_string();
        assert!(gone.contains("password: No such file"), "{gone}");
        for (text, read) in [
            ("a b \n", Some("a b ")),
            ("x\r\n", Some("x")),
            ("\n", None),
            ("", None),
        ] {
            std::fs::write(&login.password_file, text).unwrap();
            assert_eq!(login.password().await.ok().as_deref(), read, "{text:?}");
        }
    }
}
