//! Shared keys in Consul's KV store, over one agent. Always consistent reads: a server that restarts answers others with
//! a part of what it knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::change::{Change, Lease, LeaseId};
use super::entry::{Entry, If, Revision};
use super::error::StoreError;
use super::watch::{Entries, Outlet, Pauses, bound};
use crate::registry::consul::{Client, Error, Failure, Grant, Mode, Op, Outcome, Pair, Query, Right, pairs};

/// How long a read blocks. After a restored snapshot nobody is woken: what was restored is seen after this.
const WAIT: Duration = Duration::from_secs(10);
/// After a read that brought nothing new, so that nothing on the way can make us spin.
const PACE: Duration = Duration::from_millis(100);
/// The time between two looks at the files of the token and of TLS.
const FILES: Duration = Duration::from_secs(1);
/// Consul's bounds of a session's time.
const TTL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));

#[derive(Debug)]
pub(super) struct InConsul {
    client: Client,
    root: Arc<str>,
}

impl InConsul {
    pub(super) fn new(client: Client, root: &str) -> Self {
        let root = root.into();
        Self { client, root }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.pair(key).await?.and_then(|pair| self.entry(pair)))
    }

    async fn pair(&self, key: &str) -> Result<Option<Pair>, StoreError> {
        let query = Query::Key(self.full(key));
        let read = self.client.read(&query, Mode::Consistent).await;
        let answer = read.map_err(|error| self.unread(&error))?;
        let read = pairs(&answer.body).map_err(|why| self.garbage(&why))?;
        Ok(read.into_iter().next())
    }

    pub(super) async fn list(&self) -> Result<Entries, StoreError> {
        let (entries, filtered, _) = self.listed(Mode::Consistent).await?;
        // Without the right to read there is nothing to be seen.
        if (filtered || entries.is_empty()) && !self.may_read().await? {
            return Err(self.denied("keys are hidden from the token"));
        }
        Ok(entries)
    }

    /// All keys, whether some are hidden, and the index.
    async fn listed(&self, mode: Mode) -> Result<(Entries, bool, u64), StoreError> {
        let query = Query::Tree(self.root.to_string());
        let read = self.client.read(&query, mode).await;
        let answer = read.map_err(|error| self.unread(&error))?;
        let read = pairs(&answer.body).map_err(|why| self.garbage(&why))?;
        let entries: Entries = read
            .into_iter()
            .filter_map(|pair| self.entry(pair))
            .map(|entry| (entry.key.clone(), entry))
            .collect();
        bound(&entries).map_err(StoreError::away)?;
        Ok((entries, answer.filtered, answer.index))
    }

    /// Consul before 1.11 says nothing of what it leaves out.
    async fn may_read(&self) -> Result<bool, StoreError> {
        let right = Right::Key(self.root.to_string());
        let grant = self.client.grant(std::slice::from_ref(&right)).await;
        match grant.map_err(|error| self.unread(&error))? {
            Grant::Without(rights) => Ok(rights != BTreeSet::from([right])),
            Grant::All | Grant::Unknown => Ok(true),
        }
    }

    fn entry(&self, pair: Pair) -> Option<Entry> {
        // A key that is the root itself is what Consul's page makes of a folder.
        let key = pair.key.strip_prefix(&*self.root).filter(|key| !key.is_empty())?;
        let size = pair.value.len();
        Some(Entry::new(key, pair.value, size, pair.modify_index))
    }

    pub(super) async fn change(&self, change: Change<'_>) -> Result<Revision, StoreError> {
        let key = self.full(change.key);
        let held = change
            .fence
            .and_then(|lease| Some((self.full(&lease.key), session(lease)?)));
        let mut ops = Vec::new();
        if let Some((held, session)) = &held {
            ops.push(Op::HeldBy(held, session));
        }
        let fences = ops.len();
        match (change.when, change.value) {
            (If::Always, None) => ops.push(Op::Delete(&key)),
            (If::Absent, None) => ops.push(Op::NotExists(&key)),
            (If::Revision(Revision(index)), None) => ops.push(Op::DeleteCas(&key, index)),
            (when, Some(value)) => match (&held, when) {
                (Some((_, session)), _) if change.under => ops.push(Op::Lock(&key, value, session)),
                (_, If::Always) => ops.push(Op::Set(&key, value)),
                (_, If::Absent) => ops.push(Op::Cas(&key, value, 0)),
                (_, If::Revision(Revision(index))) => ops.push(Op::Cas(&key, value, index)),
            },
        }
        match self.client.transact(&ops).await {
            Ok(Outcome::Done(index)) => Ok(Revision(index)),
            Ok(Outcome::Failed { op, what }) if op < fences || what.contains("invalid session") => {
                Err(StoreError::NotHeld {
                    key: change
                        .fence
                        .map(|lease| lease.key.to_string())
                        .unwrap_or_default(),
                })
            }
            Ok(Outcome::Failed { .. }) => Err(StoreError::Changed {
                key: change.key.to_owned(),
            }),
            Err(failure) => Err(self.unwritten(&failure, self.grant_of_keys())),
        }
    }

    pub(super) async fn take(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = ttl.clamp(TTL.0, TTL.1);
        let name = format!("xds-bridge {key}");
        let created = self.client.create_session(&name, ttl).await;
        let session = created.map_err(|failure| {
            self.unwritten(&failure, "session_prefix \"\" { policy = \"write\" }".to_owned())
        })?;
        let full = self.full(key);
        let ops = [Op::NotExists(&full), Op::Lock(&full, value, &session)];
        let taken = self.client.transact(&ops).await;
        if let Ok(Outcome::Done(index)) = taken {
            return Ok(Lease {
                id: LeaseId::Consul(session.into()),
                key: key.into(),
                created: index,
                ttl,
            });
        }
        // Also where the key may have been taken: nobody would keep it alive.
        let _ = self.client.destroy_session(&session).await;
        Err(match taken {
            Err(failure) => self.unwritten(&failure, self.grant_of_keys()),
            Ok(_) => StoreError::Changed { key: key.to_owned() },
        })
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        let Some(id) = session(lease) else {
            return Ok(false);
        };
        let renewed = self.client.renew_session(id).await;
        let renewed = renewed.map_err(|failure| self.unwritten(&failure, String::new()))?;
        if !renewed {
            return Ok(false);
        }
        // Somebody may have deleted the key, and left the session.
        let pair = self.pair(&lease.key).await;
        Ok(pair.map_or(true, |pair| {
            pair.is_some_and(|pair| pair.session.as_deref() == Some(id))
        }))
    }

    pub(super) async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let Some(id) = session(lease) else { return Ok(()) };
        let ended = self.client.destroy_session(id).await;
        ended.map_err(|failure| self.unwritten(&failure, String::new()))
    }

    /// Without end.
    pub(super) async fn follow(&self, outlet: &Outlet) {
        let mut pauses = Pauses::new();
        let mut index = None;
        let mut rotated = std::pin::pin!(self.rotated());
        loop {
            let mode = index.map_or(Mode::Consistent, |index| Mode::Following { index, wait: WAIT });
            let step = async {
                match self.look(mode, outlet).await {
                    Ok(now) => {
                        pauses.reset();
                        if index == Some(now) {
                            sleep(PACE).await;
                        }
                        Some(now)
                    }
                    Err(error) => {
                        outlet.away(error.to_string());
                        sleep(match error {
                            StoreError::Denied { .. } => Pauses::denied(),
                            _ => pauses.next_pause(),
                        })
                        .await;
                        None
                    }
                }
            };
            index = tokio::select! {
                index = step => index,
                () = &mut rotated => {
                    // Another token may see other keys.
                    rotated.set(self.rotated());
                    None
                }
            };
        }
    }

    /// Until there is another token. What is wrong with the files shows in the next answer.
    async fn rotated(&self) {
        loop {
            sleep(FILES).await;
            let _ = self.client.check_tls().await;
            if self.client.check_token().await.is_ok_and(|rotated| rotated) {
                return;
            }
        }
    }

    /// One read; the index to wait for another one from. A lower one than before is that of a restored snapshot, or of
    /// deletions that Consul has forgotten: what is read is right either way.
    async fn look(&self, mode: Mode, outlet: &Outlet) -> Result<u64, StoreError> {
        let (entries, filtered, index) = self.listed(mode).await?;
        let suspect = filtered || outlet.lost_any(&entries) || entries.is_empty() && mode == Mode::Consistent;
        if suspect && !self.may_read().await? {
            return Err(self.denied("keys are hidden from the token"));
        }
        outlet.live(&entries);
        Ok(index)
    }

    fn grant_of_keys(&self) -> String {
        format!("key_prefix \"{}\" {{ policy = \"write\" }}", self.root)
    }

    fn denied(&self, why: &str) -> StoreError {
        StoreError::Denied {
            reason: format!("{why} (consul at {}, below {})", self.client.address(), self.root),
            grant: self.grant_of_keys(),
        }
    }

    fn garbage(&self, why: &str) -> StoreError {
        StoreError::away(format!(
            "what {} sent is no list of keys: {why}",
            self.client.address()
        ))
    }

    fn unread(&self, error: &Error) -> StoreError {
        if error.is_refused() && !error.chain().contains("ACL not found") {
            return self.denied(&error.failure.chain());
        }
        StoreError::away(error.chain())
    }

    /// `grant`: what is missing, if it is refused.
    fn unwritten(&self, failure: &Failure, grant: String) -> StoreError {
        let text = failure.chain();
        let reason = format!("consul at {}: {text}", self.client.address());
        if matches!(failure, Failure::Refused { .. }) && !text.contains("ACL not found") {
            return StoreError::Denied { reason, grant };
        }
        let uncertain = match failure {
            Failure::Send(error) => !error.is_connect(),
            Failure::Body(_)
            | Failure::Deadline(_)
            | Failure::Interim
            | Failure::TooLong { .. }
            | Failure::Memory(_) => true,
            Failure::Status { status, .. } => *status >= 500,
            _ => false,
        };
        StoreError::Away { reason, uncertain }
    }
}

fn session(lease: &Lease) -> Option<&str> {
    match &lease.id {
        LeaseId::Consul(id) => Some(id),
        LeaseId::Etcd(_) | LeaseId::File(_) => None,
    }
}
