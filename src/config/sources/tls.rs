//! `[sources.NAME.tls]`: whom we trust, and who we are towards a registry. Files are not opened here.

use std::path::{Path, PathBuf};

use super::super::parse;
use super::super::reader::Section;

/// TLS towards a registry; paths are relative to `bridge.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM; who signs the registry's certificate. `None`: the machine's own roots.
    pub ca: Option<PathBuf>,
    /// PEM chain, leaf first, and key: who we are. Both or neither.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the registry's certificate, where it is not that of the address.
    pub server_name: Option<String>,
}

/// The section's `tls`, where there is one. `https`: whether any address asks for TLS.
pub(super) fn read(s: &mut Section<'_>, base: &Path, https: bool) -> Option<ClientTls> {
    let mut tls = s.optional("tls")?;
    if !https {
        tls.mistake("", "is of no use: the address must be https:// for TLS");
    }
    let ca = tls.get("ca", parse::text).map(|path| base.join(path));
    let certificate = tls.get("certificate", parse::text).map(|path| base.join(path));
    let key = tls.get("key", parse::text).map(|path| base.join(path));
    match (&certificate, &key) {
        (Some(_), None) => tls.mistake("key", "is missing: a certificate needs its key"),
        (None, Some(_)) => tls.mistake("certificate", "is missing: a key needs its certificate"),
        _ => {}
    }
    let server_name = tls.get("server_name", |text| {
        if crate::model::route::is_host(text) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` must be a DNS name"))
        }
    });
    tls.finish();
    Some(ClientTls {
        ca,
        identity: certificate.zip(key),
        server_name,
    })
}
