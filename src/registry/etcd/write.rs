//! Single keys: read, and written in one transaction with what must hold for that; and leases.
//!
//! Never retries: a write that got no answer may have been applied, or may be applied seconds later.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use tokio::time::timeout;

use super::error::Error;
use super::{CALL_TIMEOUT, Connection, Kv};

/// One change of one key.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Which.
    pub key: &'a str,
    /// `None`: it is deleted.
    pub value: Option<&'a [u8]>,
    /// The lease that the key ends with.
    pub lease: Option<i64>,
    /// What the key must be.
    pub when: When,
    /// Another key, and the revision in which it must have come to be.
    pub fence: Option<(&'a str, i64)>,
}

/// What a key must be for it to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Anything.
    Always,
    /// Not there.
    Absent,
    /// As of this revision.
    Revision(i64),
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// At this revision. Of a deletion, too, where the key was not there.
    At(i64),
    /// Not: the key is another one by now.
    Changed,
    /// Not: the fence is gone, or is another one.
    Unfenced,
}

/// A lease as etcd granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: i64,
    /// How long it lives without a sign of life; etcd may grant more than was asked for.
    pub ttl: Duration,
}

impl Connection {
    /// One key (`etcdserverpb.KV/Range`), linearizably.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn get(&self, key: &str) -> Result<Option<Kv>, Error> {
        let mut client = self.client.kv_client().max_decoding_message_size(self.longest());
        let mut answer = call(client.get(key, None)).await?;
        Ok(answer.take_kvs().pop().map(|kv| {
            let revisions = (kv.mod_revision(), kv.create_revision());
            let (key, value) = kv.into_key_value();
            Kv::new(key, value, revisions)
        }))
    }

    /// One change, all of it or nothing (`etcdserverpb.KV/Txn`).
    ///
    /// # Errors
    /// What the member answered. Whether it was applied is unknown then, unless the answer is a refusal.
    pub async fn write(&self, write: &Write<'_>) -> Result<Written, Error> {
        let key = || write.key.as_bytes();
        let unchanged = match write.when {
            When::Always => None,
            When::Absent => Some(Compare::create_revision(key(), CompareOp::Equal, 0)),
            When::Revision(revision) => Some(Compare::mod_revision(key(), CompareOp::Equal, revision)),
        };
        let fenced = write
            .fence
            .map(|(key, created)| Compare::create_revision(key, CompareOp::Equal, created));
        let change = match write.value {
            Some(value) => {
                let options = PutOptions::new().with_lease(write.lease.unwrap_or(0));
                TxnOp::put(key(), value, Some(options))
            }
            None => TxnOp::delete(key(), None),
        };
        let shown = |key: &str| TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        let mut instead = vec![shown(write.key)];
        instead.extend(write.fence.map(|(key, _)| shown(key)));
        let compares: Vec<Compare> = unchanged.into_iter().chain(fenced).collect();
        let txn = Txn::new().when(compares).and_then([change]).or_else(instead);
        let answer = call(self.client.kv_client().txn(txn)).await?;
        let revision = answer
            .header()
            .ok_or(Error::Protocol("a transaction without a header"))?
            .revision();
        if answer.succeeded() {
            return Ok(Written::At(revision));
        }
        let created = |response: Option<&TxnOpResponse>| match response {
            Some(TxnOpResponse::Get(get)) => get.kvs().first().map(etcd_client::KeyValue::create_revision),
            _ => None,
        };
        let seen = answer.op_responses();
        Ok(match write.fence {
            Some((_, token)) if created(seen.get(1)) != Some(token) => Written::Unfenced,
            _ if write.value.is_none() && created(seen.first()).is_none() => Written::At(revision),
            _ => Written::Changed,
        })
    }

    /// A new lease (`etcdserverpb.Lease/LeaseGrant`).
    ///
    /// # Errors
    /// What the member answered.
    pub async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let mut client = self.client.lease_client();
        let lease = call(client.grant(seconds, None)).await?;
        let ttl = u64::try_from(lease.ttl()).map_err(|_| Error::Protocol("a lease without a time"))?;
        Ok(Lease {
            id: lease.id(),
            ttl: Duration::from_secs(ttl),
        })
    }

    /// Renews a lease once (`etcdserverpb.Lease/LeaseKeepAlive`). False: there is no such lease any more.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn keep_alive(&self, id: i64) -> Result<bool, Error> {
        let mut client = self.client.lease_client();
        // The client reads the first answer itself.
        match timeout(CALL_TIMEOUT, client.keep_alive(id)).await {
            Err(_) => Err(Error::Silent),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(etcd_client::Error::LeaseKeepAliveError(text))) if text.contains("not found") => Ok(false),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Ends a lease, and with it its keys (`etcdserverpb.Lease/LeaseRevoke`).
    ///
    /// # Errors
    /// What the member answered; also when there is no such lease.
    pub async fn revoke(&self, id: i64) -> Result<(), Error> {
        let mut client = self.client.lease_client();
        call(client.revoke(id)).await.map(drop)
    }
}

async fn call<T>(answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Error> {
    timeout(CALL_TIMEOUT, answer)
        .await
        .map_err(|_| Error::Silent)?
        .map_err(Error::from)
}
