//! The three kinds of stores behind one set of verbs. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::change::{Change, Lease};
use super::consul::InConsul;
use super::entry::{Entry, Revision};
use super::error::StoreError;
use super::etcd::InEtcd;
use super::file::InFile;
use super::watch::{Entries, Watching};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Etcd(Arc<InEtcd>),
    Consul(Arc<InConsul>),
    File(Arc<InFile>),
}

impl Backend {
    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.get(key).await,
            Self::Consul(consul) => consul.get(key).await,
            Self::File(file) => file.get(key).await,
        }
    }

    pub(super) async fn list(&self) -> Result<Entries, StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.list().await,
            Self::Consul(consul) => consul.list().await,
            Self::File(file) => file.list().await,
        }
    }

    pub(super) fn watch(&self) -> Watching {
        match self.clone() {
            Self::Etcd(etcd) => Watching::spawn(|outlet| async move { etcd.follow(&outlet).await }),
            Self::Consul(consul) => Watching::spawn(|outlet| async move { consul.follow(&outlet).await }),
            Self::File(file) => Watching::spawn(|outlet| async move { file.follow(&outlet).await }),
        }
    }

    pub(super) async fn change(&self, change: Change<'_>) -> Result<Revision, StoreError> {
        change.check()?;
        match self {
            Self::Etcd(etcd) => etcd.change(change).await,
            Self::Consul(consul) => consul.change(change).await,
            Self::File(file) => file.change(change).await,
        }
    }

    /// A key that is not there, under a new lease.
    pub(super) async fn take(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Lease, StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.take(key, value, ttl).await,
            Self::Consul(consul) => consul.take(key, value, ttl).await,
            Self::File(file) => file.take(key, value, ttl).await,
        }
    }

    /// A sign of life. False: it is lost.
    pub(super) async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.renew(lease).await,
            Self::Consul(consul) => consul.renew(lease).await,
            Self::File(file) => file.renew(lease).await,
        }
    }

    pub(super) async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        match self {
            Self::Etcd(etcd) => etcd.release(lease).await,
            Self::Consul(consul) => consul.release(lease).await,
            Self::File(file) => {
                file.release(lease);
                Ok(())
            }
        }
    }

    /// What its holder has dropped, where nobody else would end it.
    pub(super) fn abandon(&self, lease: &Lease) {
        if let Self::File(file) = self {
            file.release(lease);
        }
    }
}
