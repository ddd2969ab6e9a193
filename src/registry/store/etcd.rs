//! Shared keys in etcd. Each call goes to the member in use, and to the next one while nothing was asked of it yet: the
//! member answers a read first, so that a dead one costs no write.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::change::{Change, Lease, LeaseId};
use super::entry::{Entry, If, MAX_VALUE, Revision};
use super::error::StoreError;
use super::watch::{Entries, Outlet, Pauses, bound};
use crate::registry::etcd::{
    Compared, Connection, Error, Event, Kv, Member, Members, Message, Unreachable, When, Write, Written,
};
use crate::text::chain;

/// How long a member may take to answer a read.
const ANSWER: Duration = Duration::from_secs(3);
/// How long it may take for a write.
const WRITE: Duration = Duration::from_secs(10);
/// How often the store is asked where it is, beside the watch: what a watch misses is seen after this.
const PROBE: Duration = Duration::from_secs(6);

pub(super) struct InEtcd {
    members: Members,
    root: Arc<str>,
}

impl std::fmt::Debug for InEtcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InEtcd")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Why a watch is over.
enum Break {
    Etcd(Error),
    /// The store has moved below the root, and the watch has not said so.
    Behind,
    OtherCluster(u64),
    Full(String),
}

impl From<Error> for Break {
    fn from(error: Error) -> Self {
        Self::Etcd(error)
    }
}

impl InEtcd {
    pub(super) fn new(members: Members, root: &str) -> Self {
        let root = root.into();
        Self { members, root }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let full = &self.full(key);
        let read = self
            .read(|connection| async move { connection.get(full).await })
            .await?;
        Ok(read.and_then(|kv| self.entry(&kv)))
    }

    pub(super) async fn list(&self) -> Result<Entries, StoreError> {
        self.read(|connection| async move { Ok(self.listed(&connection).await?.0) })
            .await?
            .map_err(StoreError::away)
    }

    pub(super) async fn change(&self, change: Change<'_>) -> Result<Revision, StoreError> {
        let (key, fence) = (
            self.full(change.key),
            change.fence.map(|lease| (self.full(&lease.key), lease)),
        );
        let lease = change.fence.filter(|_| change.under).and_then(number);
        let write = &Write {
            key: &key,
            value: change.value,
            lease,
            when: match change.when {
                If::Always => When::Always,
                If::Absent => When::Absent,
                If::Revision(Revision(revision)) => When::Revision(signed(revision)),
            },
            fence: fence
                .as_ref()
                .map(|(key, lease)| (key.as_str(), signed(lease.created))),
        };
        match self
            .write(|connection| async move { connection.write(write).await })
            .await?
        {
            Written::At(revision) => Ok(Revision(unsigned(revision))),
            Written::Changed => Err(StoreError::Changed {
                key: change.key.to_owned(),
            }),
            Written::Unfenced => Err(StoreError::NotHeld {
                key: change
                    .fence
                    .map(|lease| lease.key.to_string())
                    .unwrap_or_default(),
            }),
        }
    }

    pub(super) async fn take(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Lease, StoreError> {
        let granted = self
            .write(|connection| async move { connection.grant(ttl).await })
            .await?;
        let full = self.full(key);
        let write = &Write {
            key: &full,
            value: Some(value),
            lease: Some(granted.id),
            when: When::Absent,
            fence: None,
        };
        let written = self
            .write(|connection| async move { connection.write(write).await })
            .await;
        if let Ok(Written::At(revision)) = written {
            return Ok(Lease {
                id: LeaseId::Etcd(granted.id),
                key: key.into(),
                created: unsigned(revision),
                ttl: granted.ttl,
            });
        }
        // Also for a write that may have been applied: nobody would keep it alive.
        let _ = self
            .write(|connection| async move { connection.revoke(granted.id).await })
            .await;
        written.and(Err(StoreError::Changed { key: key.to_owned() }))
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        let id = number(lease).unwrap_or_default();
        let key = &self.full(&lease.key);
        let created = signed(lease.created);
        self.read(|connection| async move {
            if !connection.keep_alive(id).await? {
                return Ok(false);
            }
            // Somebody may have deleted the key, and left the lease.
            let kv = connection.get(key).await?;
            Ok(kv.is_some_and(|kv| kv.create_revision == created))
        })
        .await
    }

    pub(super) async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let id = number(lease).unwrap_or_default();
        self.write(|connection| async move { connection.revoke(id).await })
            .await
    }

    /// What changes nothing: each member may be asked once.
    async fn read<T, F>(&self, ask: impl Fn(Connection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut renewed = false;
        let mut left = self.members.endpoints();
        loop {
            let (endpoint, error) = match Box::pin(self.members.member()).await {
                Ok(member) => {
                    let error = match timeout(ANSWER, Box::pin(ask(member.connection.clone()))).await {
                        Ok(Ok(answer)) => return Ok(answer),
                        Ok(Err(error)) => error,
                        Err(_) => Error::Silent,
                    };
                    if self.turn(&member, &error, &mut renewed).await {
                        continue;
                    }
                    (member.endpoint, error)
                }
                Err(Unreachable { endpoint, error }) => (endpoint, error),
            };
            left = left.saturating_sub(1);
            if left == 0 || matches!(error, Error::Denied { .. }) {
                return Err(self.error(&endpoint, &error, false));
            }
        }
    }

    /// What changes something: sent once.
    async fn write<T, F>(&self, ask: impl Fn(Connection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut renewed = false;
        loop {
            // A member that answers, and that knows who we are.
            let head = self
                .read(|connection| async move { connection.head(&self.root).await })
                .await?;
            let member = match Box::pin(self.members.member()).await {
                Ok(member) => member,
                Err(Unreachable { endpoint, error }) => return Err(self.error(&endpoint, &error, false)),
            };
            if let Err(known) = self.members.recognise(&member, head.origin.cluster_id).await {
                let words = self.words(&Break::OtherCluster(known));
                self.members.leave(&member).await;
                return Err(StoreError::away(format!("{}: {words}", member.endpoint)));
            }
            let error = match timeout(WRITE, Box::pin(ask(member.connection.clone()))).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::Silent,
            };
            if !self.turn(&member, &error, &mut renewed).await {
                return Err(self.error(&member.endpoint, &error, true));
            }
        }
    }

    /// What an error means for the member. True: it is worth asking again, as nobody was logged in.
    async fn turn(&self, member: &Member, error: &Error, renewed: &mut bool) -> bool {
        match error {
            Error::Denied { .. } => false,
            Error::Expired { .. } => {
                self.members.renew(member).await;
                self.members.user().is_some() && !std::mem::replace(renewed, true)
            }
            _ => {
                self.members.leave(member).await;
                false
            }
        }
    }

    /// `sent`: a write that may have been applied, unless it was refused.
    fn error(&self, endpoint: &str, error: &Error, sent: bool) -> StoreError {
        let text = chain(error);
        match error {
            Error::Denied { .. } => StoreError::Denied {
                reason: format!(
                    "{} may not read and write {} ({text})",
                    match self.members.user() {
                        Some(user) => format!("the user `{user}`"),
                        None => "the user of our certificate".to_owned(),
                    },
                    self.root
                ),
                grant: format!(
                    "etcdctl role grant-permission ROLE --prefix=true readwrite {}",
                    self.root
                ),
            },
            Error::Expired { .. } | Error::Login { .. } => StoreError::away(format!("{endpoint}: {text}")),
            _ => StoreError::Away {
                reason: format!("{endpoint}: {text}"),
                uncertain: sent,
            },
        }
    }

    /// All keys at one revision, which comes with the id of the cluster; `Err` inside: there are too many.
    async fn listed(&self, connection: &Connection) -> Result<(Result<Entries, String>, i64, u64), Error> {
        let mut pages = connection.list(&self.root).await?;
        let (revision, cluster) = (pages.revision(), pages.origin().cluster_id);
        let mut entries = Entries::new();
        while let Some(page) = pages.next().await? {
            entries.extend(page.iter().filter_map(|kv| {
                let entry = self.entry(kv)?;
                Some((entry.key.clone(), entry))
            }));
            if let Err(full) = bound(&entries) {
                return Ok((Err(full), revision, cluster));
            }
        }
        Ok((Ok(entries), revision, cluster))
    }

    /// `None`: a key that nobody who speaks for us can have written.
    fn entry(&self, kv: &Kv) -> Option<Entry> {
        let key = std::str::from_utf8(kv.key.strip_prefix(self.root.as_bytes())?).ok()?;
        let value = if kv.size > MAX_VALUE {
            Vec::new()
        } else {
            kv.value.clone()
        };
        Some(Entry::new(key, value, kv.size, unsigned(kv.mod_revision)))
    }

    /// Without end.
    pub(super) async fn follow(&self, outlet: &Outlet) {
        let mut pauses = Pauses::new();
        let mut failed = 0;
        let mut at_once = true;
        loop {
            let (endpoint, end) = match Box::pin(self.members.member()).await {
                Ok(member) => {
                    let Err(end) = self
                        .attend(&member, outlet, &mut pauses, &mut failed, &mut at_once)
                        .await;
                    match &end {
                        // Rights are looked up at each call; a login costs etcd much.
                        Break::Etcd(Error::Denied { .. }) if self.members.user().is_some() => {}
                        // A new certificate may name another user.
                        Break::Etcd(Error::Denied { .. } | Error::Expired { .. }) => {
                            self.members.renew(&member).await;
                        }
                        Break::Etcd(error) if error.needs_listing() => {}
                        Break::Behind | Break::Full(_) => {}
                        Break::Etcd(_) | Break::OtherCluster(_) => self.members.leave(&member).await,
                    }
                    (member.endpoint, end)
                }
                Err(Unreachable { endpoint, error }) => (endpoint, Break::Etcd(error)),
            };
            // etcd is well, and everything is read again anyway: no reason to wait, unless it is so again and again.
            let well = match &end {
                Break::Behind => true,
                Break::Etcd(error) => error.needs_listing() || matches!(error, Error::Expired { .. }),
                Break::OtherCluster(_) | Break::Full(_) => false,
            };
            if well && std::mem::replace(&mut at_once, false) {
                tracing::info!(%endpoint, root = &*self.root, "reading shared state again: {}", self.words(&end));
                continue;
            }
            failed += 1;
            if failed >= self.members.endpoints() || !matches!(end, Break::Etcd(_)) {
                outlet.away(format!("{endpoint}: {}", self.words(&end)));
            }
            sleep(match end {
                Break::Etcd(Error::Denied { .. }) => Pauses::denied(),
                _ => pauses.next_pause(),
            })
            .await;
        }
    }

    fn words(&self, end: &Break) -> String {
        match end {
            Break::Etcd(error @ Error::Denied { .. }) => self.error("", error, false).to_string(),
            Break::Etcd(error) => chain(error),
            Break::Behind => "the watch has not delivered what was written".to_owned(),
            Break::OtherCluster(known) => {
                format!("this endpoint belongs to another cluster than that of the shared state, {known:x}")
            }
            Break::Full(text) => text.clone(),
        }
    }

    /// Lists, and watches until something breaks.
    async fn attend(
        &self,
        member: &Member,
        outlet: &Outlet,
        pauses: &mut Pauses,
        failed: &mut usize,
        at_once: &mut bool,
    ) -> Result<Infallible, Break> {
        let connection = &member.connection;
        let (entries, revision, cluster) = self.listed(connection).await?;
        let mut entries = entries.map_err(Break::Full)?;
        self.members
            .recognise(member, cluster)
            .await
            .map_err(Break::OtherCluster)?;
        let mut watch = connection.watch(&self.root, revision.saturating_add(1)).await?;
        outlet.live(&entries);
        pauses.reset();
        *failed = 0;
        let mut delivered = revision;
        let mut probes = interval(PROBE);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        probes.reset();
        loop {
            tokio::select! {
                biased;
                message = watch.next() => match message? {
                    Message::Alive => {}
                    Message::Progress(at) => delivered = delivered.max(at),
                    Message::Events(events) => {
                        for event in events {
                            delivered = delivered.max(event.mod_revision());
                            self.apply(&mut entries, event);
                        }
                        bound(&entries).map_err(Break::Full)?;
                        outlet.live(&entries);
                    }
                },
                _ = probes.tick() => {
                    delivered = self.probe(connection, delivered).await?;
                    *at_once = true;
                }
            }
        }
    }

    /// Whether the watch has delivered everything; up to which revision.
    async fn probe(&self, connection: &Connection, delivered: i64) -> Result<i64, Break> {
        let asking = async {
            let head = connection.head(&self.root).await?.revision;
            if head < delivered {
                return Err(Error::Rewound { known: delivered }.into());
            }
            if head == delivered {
                return Ok(head);
            }
            match connection.compare(&self.root, delivered).await? {
                Compared::Unchanged { at } => Ok(at),
                // It may be on its way. Reading these few keys again is right in any case.
                Compared::Changed => Err(Break::Behind),
            }
        };
        timeout(ANSWER, asking)
            .await
            .unwrap_or(Err(Break::Etcd(Error::Silent)))
    }

    fn apply(&self, entries: &mut Entries, event: Event) {
        match event {
            Event::Put(kv) => {
                if let Some(entry) = self.entry(&kv) {
                    entries.insert(entry.key.clone(), entry);
                }
            }
            Event::Delete { key, .. } => {
                let key = key.strip_prefix(self.root.as_bytes());
                if let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) {
                    entries.remove(key);
                }
            }
        }
    }
}

const fn number(lease: &Lease) -> Option<i64> {
    match lease.id {
        LeaseId::Etcd(id) => Some(id),
        LeaseId::Consul(_) | LeaseId::File(_) => None,
    }
}

/// etcd's revisions are above 0.
fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
