//! Certificates, keys and CAs that Envoys get by name (`[tls.NAME]`). Pure: what the files hold, not where they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a file holds.
pub type Pem = Arc<[u8]>;

/// All of them, by name.
pub type Secrets = BTreeMap<Arc<str>, Secret>;

/// What is known by one name, PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// Who the holder is: the chain, leaf first, and its key.
    pub identity: Option<(Pem, Pem)>,
    /// Whom the holder trusts.
    pub ca: Option<Arc<[u8]>>,
    /// The keys of an issuer of tokens, JSON.
    pub jwks: Option<Arc<[u8]>>,
}

impl Secret {
    /// Whether it has what is wanted of it.
    #[must_use]
    pub const fn fits(&self, identity: bool, ca: bool, jwks: bool) -> bool {
        self.identity.is_some() == identity && self.ca.is_some() == ca && self.jwks.is_some() == jwks
    }

    /// The name of the keys of an issuer of tokens. No `[tls.NAME]` has such a name.
    #[must_use]
    pub fn jwks_name(exposure: &str, issuer: &str) -> String {
        format!("exposures/{exposure}/jwt/{issuer}")
    }

    /// The name of the resource that holds the CA.
    #[must_use]
    pub fn ca_name(name: &str) -> String {
        format!("{name}/ca")
    }
}

/// Never with what is secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("identity", &self.identity.is_some())
            .field("ca", &self.ca.is_some())
            .field("jwks", &self.jwks.is_some())
            .finish()
    }
}
