//! `[tls.NAME]`: certificates, keys and CAs that Envoys get by name. Files are not opened here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::reader::{Section, named};
use super::{SecretFiles, Xds, parse};

pub(super) fn read(root: &mut Section<'_>, base: &Path, xds: &Xds) -> BTreeMap<Arc<str>, SecretFiles> {
    let mut all = BTreeMap::new();
    for mut s in root.sections("tls") {
        named(&s);
        let certificate = s.get("certificate", parse::text);
        let key = s.get("key", parse::text);
        let ca = s.get("ca", parse::text);
        match (&certificate, &key, &ca) {
            (Some(_), None, _) => s.mistake("key", "is missing; it belongs to the certificate"),
            (None, Some(_), _) => s.mistake("certificate", "is missing; it belongs to the key"),
            (None, None, None) => s.mistake(
                "",
                "says nothing: certificate and key (who the holder is), ca (whom the holder trusts), or all three",
            ),
            _ => {}
        }
        if key.is_some() && !xds.may_send_keys() {
            s.mistake(
                "key",
                "would be given to whoever connects to xds.listen: [xds.tls] needs client_ca, so that only clients with \
                 a certificate get it",
            );
        }
        let identity = certificate.zip(key);
        all.insert(
            s.name().into(),
            SecretFiles {
                identity: identity.map(|(certificate, key)| (base.join(certificate), base.join(key))),
                ca: ca.map(|ca| base.join(ca)),
                jwks: None,
            },
        );
        s.finish();
    }
    all
}
