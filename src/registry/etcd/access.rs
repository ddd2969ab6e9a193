//! How a member is reached: its certificate, ours, and who we are. The files are read at each new
//! connection, so that what was rotated is used. Never keeps a password or a key, never logs one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::Error;
use super::{CALL_TIMEOUT, CONNECT_TIMEOUT, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT};
use crate::small_file;

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
    /// [`Error::File`]
    pub async fn look_at_files(&self) -> Result<(), Error> {
        self.tls.options().await?;
        if let Some(login) = &self.login {
            login.password().await?;
        }
        Ok(())
    }

    /// What a connection to this endpoint is made with, but for the user.
    ///
    /// # Errors
    /// [`Error::File`]
    pub(super) async fn options(&self, endpoint: &str) -> Result<ConnectOptions, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(CALL_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member that lost its leader would go on to serve a silent watch.
            .with_require_leader(true);
        Ok(if endpoint.starts_with("https:") {
            options.with_tls(self.tls.options().await?)
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
        let bytes = read(&self.password_file).await?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(wrong("it is empty and must hold the password".to_owned())),
            password => Ok(password.to_owned()),
        }
    }
}

impl Tls {
    async fn options(&self) -> Result<TlsOptions, Error> {
        let mut options = TlsOptions::new().timeout(CONNECT_TIMEOUT);
        options = match &self.ca {
            Some(path) => {
                let pem = read(path).await?;
                trusted(path, &pem)?;
                options.ca_certificate(Certificate::from_pem(pem))
            }
            None => options.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            let (chain, secret) = (read(certificate).await?, read(key).await?);
            fits((certificate, &chain), (key, &secret))?;
            options = options.identity(Identity::from_pem(chain, secret));
        }
        Ok(match &self.server_name {
            Some(name) => options.domain_name(name),
            None => options,
        })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    small_file::read_aside(path).await.map_err(|error| Error::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The client library passes over what it cannot parse: then nobody would be trusted, and nobody told why.
fn trusted(path: &Path, pem: &[u8]) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| {
            wrong(
                path,
                &format!("it holds a certificate that cannot sign others: {error}"),
            )
        })?;
    }
    Ok(())
}

/// Whether certificate and key belong together: told here with the names of their files.
fn fits((certificate, chain): (&Path, &[u8]), (key, secret): (&Path, &[u8])) -> Result<(), Error> {
    let chain = certificates(certificate, chain)?;
    let secret = PrivateKeyDer::from_pem_slice(secret)
        .map_err(|error| wrong(key, &format!("it must hold a private key in PEM: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, secret));
    match pair {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = format!("it does not fit the key {}: {error}", key.display());
            Err(wrong(certificate, &text))
        }
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(path, "it must hold a certificate in PEM")),
        Err(error) => Err(wrong(
            path,
            &format!("it must hold a certificate in PEM: {error}"),
        )),
    }
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::File {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["etcd.test".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[tokio::test]
    async fn each_wrong_file_is_named_with_what_is_wrong() {
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
            (ca(folder.path().join("none")), "none", "No such file"),
            (ca(file("text", "hello")), "text", "must hold a certificate"),
            (ca(file("key", &key)), "key", "must hold a certificate"),
            (identity("other", &chain, &other), "other", "does not fit the key"),
            (
                identity("swapped", &chain, &chain),
                "swapped-key",
                "must hold a private key",
            ),
            (identity("no", &key, &key), "no", "must hold a certificate"),
        ] {
            let text = tls.options().await.unwrap_err().to_string();
            let path = folder.path().join(name).display().to_string();
            assert!(text.starts_with(&path) && text.contains(word), "{text}");
            assert!(!text.contains(&key[30..60]), "{text}");
        }
        assert!(identity("right", &chain, &key).options().await.is_ok());
        assert!(ca(file("ca", &chain)).options().await.is_ok());
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
