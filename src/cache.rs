//! The last known good state of each source on disk: what is served at once when a
//! bridge starts while its registry is away. Written atomically (`writer`); a file that is damaged, foreign or too old is refused with a clear word.
//! Never trusted beside a registry that answers.

mod writer;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::clock;
use crate::model::ServiceRecord;
pub use writer::{Inbox, Writer, write, writer};

/// Changes with the shape of what is written.
const FORMAT: u32 = 2;

/// No more of a file is read; 75,000 instances are some 20 MB.
const MAX_BYTES: u64 = 512 << 20;

/// So many seconds two clocks may differ.
const CLOCKS: u64 = 300;

/// The first line of a file; the second holds the services.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    source: String,
    /// Which registry it is of: another address or prefix makes it foreign.
    registry: String,
    /// Seconds since 1970.
    written: u64,
    /// xxh3 of all of the above and of the second line, hexadecimal.
    checksum: String,
}

impl Head {
    fn sum(&self, body: &str) -> String {
        let mut sum = Xxh3::new();
        let Self {
            format,
            source,
            registry,
            written,
            checksum: _,
        } = self;
        for part in [&format.to_string(), source, registry, &written.to_string(), body] {
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part.as_bytes());
        }
        format!("{:016x}", sum.digest())
    }
}

/// All services of a source by name.
pub type Services = Vec<(Arc<str>, Arc<ServiceRecord>)>;

/// A state that was loaded.
#[derive(Clone, Debug)]
pub struct LastKnown {
    /// What was served.
    pub services: Vec<(Arc<str>, ServiceRecord)>,
    /// How old it was when it was loaded.
    pub age: Duration,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read or written.
    #[error("the file cannot be used")]
    Io(#[from] std::io::Error),
    /// A pipe, a folder, or something else that is no file.
    #[error("it is not a file")]
    NoFile,
    /// The clock was wrong then, or is now.
    #[error("the file was written in the future: is the clock right?")]
    Future,
    /// It is larger than any that was written here.
    #[error("the file is larger than 512 MiB")]
    TooLarge,
    /// It ends too early, or its checksum is another.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Another version of the bridge wrote it.
    #[error("the file has format {0}, this bridge reads {FORMAT}")]
    Format(u32),
    /// It is of another registry.
    #[error("the file is of {found}, not of {wanted}")]
    Foreign {
        /// Of what it is.
        found: String,
        /// Of what it should be.
        wanted: String,
    },
    /// It is older than allowed.
    #[error("the file is {0:?} old, older than cache.max_age")]
    Old(Duration),
}

/// What is to be written.
#[derive(Debug)]
pub struct Snapshot {
    /// The source.
    pub source: Arc<str>,
    /// Which registry.
    pub registry: String,
    /// What is served of it.
    pub services: Services,
}

/// The text of a file.
///
/// # Errors
/// [`CacheError::Damaged`] when something cannot be written as JSON.
pub fn encode(snapshot: &Snapshot, written: u64) -> Result<String, CacheError> {
    let damaged = |e: serde_json::Error| CacheError::Damaged(e.to_string());
    let services: BTreeMap<&str, &ServiceRecord> =
        snapshot.services.iter().map(|(n, r)| (&**n, &**r)).collect();
    let body = serde_json::to_string(&services).map_err(damaged)?;
    let mut head = Head {
        format: FORMAT,
        source: snapshot.source.to_string(),
        registry: snapshot.registry.clone(),
        written,
        checksum: String::new(),
    };
    head.checksum = head.sum(&body);
    Ok(format!(
        "{}\n{body}\n",
        serde_json::to_string(&head).map_err(damaged)?
    ))
}

/// Reads a file's text.
///
/// # Errors
/// [`CacheError`], which says why it is refused.
pub fn decode(
    text: &str,
    source: &str,
    registry: &str,
    now: u64,
    max_age: Duration,
) -> Result<LastKnown, CacheError> {
    let damaged = |what: &str| CacheError::Damaged(what.to_owned());
    let (head, body) = text
        .split_once('\n')
        .ok_or_else(|| damaged("it has no second line"))?;
    let head: Head = serde_json::from_str(head).map_err(|e| damaged(&format!("its head: {e}")))?;
    if head.format != FORMAT {
        return Err(CacheError::Format(head.format));
    }
    let (found, wanted) = (
        format!("{} ({})", head.source, head.registry),
        format!("{source} ({registry})"),
    );
    if found != wanted {
        return Err(CacheError::Foreign { found, wanted });
    }
    let body = body
        .strip_suffix('\n')
        .ok_or_else(|| damaged("it ends too early"))?;
    if head.sum(body) != head.checksum {
        return Err(damaged("its checksum is another"));
    }
    if head.written > now + CLOCKS {
        return Err(CacheError::Future);
    }
    let age = Duration::from_secs(now.saturating_sub(head.written));
    if age > max_age {
        return Err(CacheError::Old(age));
    }
    let services: BTreeMap<Arc<str>, ServiceRecord> =
        serde_json::from_str(body).map_err(|e| damaged(&e.to_string()))?;
    Ok(LastKnown {
        services: services.into_iter().collect(),
        age,
    })
}

/// The file of a source.
#[must_use]
pub fn file(folder: &Path, source: &str) -> PathBuf {
    folder.join(format!("{source}.cache"))
}

/// Loads the state of a source; `None`: there is none. A file that is refused is named in the log.
#[must_use]
pub fn load(folder: &Path, source: &str, registry: &str, max_age: Duration) -> Option<LastKnown> {
    let path = file(folder, source);
    let read = || -> Result<LastKnown, CacheError> {
        // Before it is opened: a pipe would keep us waiting.
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(CacheError::NoFile);
        }
        if metadata.len() > MAX_BYTES {
            return Err(CacheError::TooLarge);
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|e| CacheError::Damaged(e.to_string()))?;
        decode(&text, source, registry, clock::unix_seconds(), max_age)
    };
    match read() {
        Ok(state) => Some(state),
        Err(CacheError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let error = crate::render::chain(&error);
            tracing::warn!(
                source, path = %path.display(), error,
                "the last known state is not used; the file is replaced when the registry answers"
            );
            None
        }
    }
}

/// Writes one file: all of it or nothing.
fn store(folder: &Path, snapshot: &Snapshot) -> Result<(), CacheError> {
    let text = encode(snapshot, clock::unix_seconds())?;
    std::fs::create_dir_all(folder)?;
    let (path, fresh) = (
        file(folder, &snapshot.source),
        folder.join(format!("{}.cache.{}.new", snapshot.source, std::process::id())),
    );
    let _ = std::fs::remove_file(&fresh); // of a process of the same number that was killed
    let mut out = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(&fresh); // on a full disk its rest would be in the way
        return Err(error.into());
    }
    std::fs::rename(fresh, path)?;
    File::open(folder)?.sync_all()?; // the new name, too, is on disk
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::declaration::{Expose, Policy};
    use crate::model::{Health, Instance, Protocol, RouteRule};

    const DAY: Duration = Duration::from_secs(86_400);

    fn snapshot() -> Snapshot {
        let policy = Policy {
            protocol: Some(Protocol::Grpc),
            expose: Some(Expose::On(vec!["edge".into()])),
            routes: vec![RouteRule::parse("grpc=shop.Orders/Get header=x:1 timeout=2s").unwrap()],
            all_unhealthy: Some(crate::model::OnAllUnhealthy::Drop),
        };
        let instance = Instance {
            id: "orders-7".into(),
            address: "[fd00::7]:8080".parse().unwrap(),
            health: Health::Draining,
            weight: 3,
            zone: "a".into(),
            version: "9f31c2a".into(),
            policy: Arc::new(policy.clone()),
        };
        let record = ServiceRecord {
            instances: vec![instance],
            policy: Some(policy),
            issues: Vec::new(),
        };
        Snapshot {
            source: "etcd".into(),
            registry: "etcd /services/".into(),
            services: vec![("orders".into(), Arc::new(record))],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let snapshot = snapshot();
        let text = encode(&snapshot, 1_000).unwrap();
        let read = decode(&text, "etcd", "etcd /services/", 1_060, DAY).unwrap();
        assert_eq!(read.age, Duration::from_secs(60));
        assert_eq!(
            read.services,
            [("orders".into(), (*snapshot.services[0].1).clone())]
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_word() {
        let text = encode(&snapshot(), 1_000).unwrap();
        let refused = |text: &str, source: &str, now: u64| {
            decode(text, source, "etcd /services/", now, DAY)
                .unwrap_err()
                .to_string()
        };
        for (text, source, now, word) in [
            (text.as_str(), "etcd", 1_000_000, "older than cache.max_age"),
            (text.as_str(), "etcd", 1, "in the future"),
            (
                &text.replace("\"written\":1000", "\"written\":1001"),
                "etcd",
                1_000,
                "its checksum is another",
            ),
            (
                &text.replace("\"weight\":3", "\"weight\":4"),
                "etcd",
                1_000,
                "its checksum is another",
            ),
            (&text[..text.len() - 20], "etcd", 1_000, "ends too early"),
            (&text[..20], "etcd", 1_000, "no second line"),
            (
                &text.replacen("\"format\":2", "\"format\":3", 1),
                "etcd",
                1_000,
                "format 3",
            ),
            (
                &text,
                "other",
                1_000,
                "is of etcd (etcd /services/), not of other",
            ),
            ("\u{0}\n\n", "etcd", 1_000, "its head"),
            ("", "etcd", 1_000, "no second line"),
        ] {
            let message = refused(text, source, now);
            assert!(message.contains(word), "{word}: {message}");
        }
    }

    #[test]
    fn no_bit_can_flip_and_no_byte_be_missing_unnoticed() {
        let text = encode(&snapshot(), 1_000).unwrap();
        let read = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).ok()?;
            decode(&text, "etcd", "etcd /services/", 1_000, DAY).ok()
        };
        assert!(read(text.clone().into_bytes()).is_some());
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(read(bytes).is_none(), "bit {bit} of byte {at}");
            }
            assert!(read(text.as_bytes()[..at].to_vec()).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_file_of_ours_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let load = |name: &str| load(folder.path(), name, "etcd /services/", DAY);
        std::fs::create_dir(file(folder.path(), "folder")).unwrap();
        assert!(load("folder").is_none());
        // Sparse: a gigabyte without a block on disk.
        File::create(file(folder.path(), "huge"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        assert!(load("huge").is_none());
        std::fs::write(file(folder.path(), "binary"), [0xff_u8; 100]).unwrap();
        assert!(load("binary").is_none());
        std::os::unix::fs::symlink("nowhere", file(folder.path(), "dangling")).unwrap();
        assert!(load("dangling").is_none());
    }

    #[test]
    fn a_link_is_read_through_and_replaced_never_written_through() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        store(other.path(), &snapshot()).unwrap();
        let target = file(other.path(), "etcd");
        let before = std::fs::read_to_string(&target).unwrap();
        std::os::unix::fs::symlink(&target, file(folder.path(), "etcd")).unwrap();
        let known = || {
            load(folder.path(), "etcd", "etcd /services/", DAY)
                .unwrap()
                .services
                .len()
        };
        assert_eq!(known(), 1);
        // Nor through one that lies where the new file is written first.
        let fresh = folder
            .path()
            .join(format!("etcd.cache.{}.new", std::process::id()));
        std::os::unix::fs::symlink(other.path().join("trap"), &fresh).unwrap();
        let empty = Snapshot {
            services: Vec::new(),
            ..snapshot()
        };
        store(folder.path(), &empty).unwrap();
        assert_eq!((known(), std::fs::read_to_string(&target).unwrap()), (0, before));
        assert!(!other.path().join("trap").exists());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), "etcd", "etcd /services/", DAY).is_none());
        store(&folder.path().join("new"), &snapshot()).unwrap();
        store(folder.path(), &snapshot()).unwrap();
        store(folder.path(), &snapshot()).unwrap();
        assert_eq!(
            load(folder.path(), "etcd", "etcd /services/", DAY)
                .unwrap()
                .services
                .len(),
            1
        );
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "no leftovers: {names:?}");
    }
}
