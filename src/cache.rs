//! The last known good state of each source on disk: what is served at once when a
//! bridge starts while its registry is away. Written atomically (`writer`); a file that is damaged, foreign or too old is refused with a clear word.
//! Never trusted beside a registry that answers. Beside them stands what was decided between services.

mod body;
mod decisions;
mod format2;
mod schema;
mod text;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::files;
pub use decisions::{decisions_file, decode as decode_decisions, load_decisions};
pub use text::{CacheError, LastKnown, Services, Snapshot, decode, encode, sealed, sealed_as};
pub use writer::{Inbox, Saved, Writer, write, writer};

/// No more of a file is read; 75,000 instances are some 20 MB.
const MAX_BYTES: u64 = 512 << 20;

/// The file of a source.
#[must_use]
pub fn file(folder: &Path, source: &str) -> PathBuf {
    folder.join(format!("{source}.cache"))
}

/// Loads the state of a source; `None`: there is none. A file that is refused is named in the log.
#[must_use]
pub fn load(folder: &Path, source: &str, registry: &str, max_age: Duration) -> Option<LastKnown> {
    let path = file(folder, source);
    let read = || decode(&text_of(&path)?, source, registry, clock::unix_seconds(), max_age);
    match read() {
        Ok(state) => Some(state),
        Err(CacheError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let error = crate::text::chain(&error);
            tracing::warn!(
                source, path = %path.display(), error,
                "the last known state is not used; the file is replaced when the registry answers"
            );
            None
        }
    }
}

/// The text of a file.
fn text_of(path: &Path) -> Result<String, CacheError> {
    let bytes = files::read(path, MAX_BYTES)?;
    String::from_utf8(bytes).map_err(|e| CacheError::Damaged(e.to_string()))
}

/// Writes the state of one source.
fn store(folder: &Path, snapshot: &Snapshot) -> Result<(), CacheError> {
    let text = encode(snapshot, clock::unix_seconds())?;
    replace(folder, &file(folder, &snapshot.source), &text)
}

fn replace(folder: &Path, path: &Path, text: &str) -> Result<(), CacheError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(files::replace(folder, &name, text)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Expose, Facts, Health, Instance, Policy, Protocol, RouteRule, ServiceRecord};

    const DAY: Duration = Duration::from_secs(86_400);

    fn snapshot() -> Snapshot {
        let policy = Policy {
            protocol: Some(Protocol::Grpc),
            expose: Some(Expose::On(vec!["edge".into()])),
            routes: [(
                2,
                RouteRule::parse("grpc=shop.Orders/Get header=x:1 timeout=2s").unwrap(),
            )]
            .into(),
            all_unhealthy: Some(crate::model::OnAllUnhealthy::Drop),
            idle_timeout: Some(Duration::from_secs(2)),
            ..Policy::default()
        };
        let instance = Instance::from(Facts {
            health: Health::Draining,
            weight: 3,
            zone: "a".into(),
            version: "9f31c2a".into(),
            policy: Arc::new(policy.clone()),
            ..Facts::new("orders-7", "[fd00::7]:8080".parse().unwrap())
        });
        let record = ServiceRecord {
            instances: vec![instance],
            policy: Some(policy),
            ..ServiceRecord::default()
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
    fn a_clock_that_was_set_back_costs_nothing() {
        let text = encode(&snapshot(), 1_000_000).unwrap();
        let read = decode(&text, "etcd", "etcd /services/", 1_000_000 - 3_600, DAY).unwrap();
        assert_eq!(read.age, Duration::ZERO);
        assert_eq!(read.services.len(), 1);
    }

    /// As versions wrote it that knew fewer keys, read paths as characters and addresses as they stood.
    #[test]
    fn a_state_of_an_earlier_version_is_read() {
        let policy = r#"{"protocol":null,"expose":null,"all_unhealthy":null,
            "routes":[{"host":null,"matcher":{"Prefix":"/orders/"},"headers":[],"timeout":null}]}"#;
        let instance = format!(
            r#"{{"id":"1","address":"[::ffff:10.0.0.7]:80","health":"Healthy","weight":1,"zone":"","version":"","policy":{policy}}}"#
        );
        let body = format!(r#"{{"orders":{{"instances":[{instance}],"policy":null}}}}"#).replace('\n', " ");
        let text = sealed_as(2, "etcd", "etcd /services/", 1_000, &body).unwrap();
        let read = decode(&text, "etcd", "etcd /services/", 1_060, DAY).unwrap();
        let instance = &read.services[0].1.instances[0];
        assert_eq!(instance.address.to_string(), "10.0.0.7:80");
        assert_eq!(
            instance.policy.routes,
            [(1, RouteRule::parse("path=/orders").unwrap())].into()
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
                &text.replacen("\"format\":3", "\"format\":4", 1),
                "etcd",
                1_000,
                "format 4",
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
        std::fs::File::create(file(folder.path(), "huge"))
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
    fn a_folder_in_the_place_of_a_file_is_an_error_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(file(folder.path(), "etcd")).unwrap();
        assert!(store(folder.path(), &snapshot()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
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

    #[test]
    fn what_could_not_be_served_is_refused() {
        let text = encode(&snapshot(), 1_000).unwrap();
        let body = text.lines().nth(1).unwrap();
        for (from, to, word) in [
            ("\"weight\":3", "\"weight\":0", "its weight"),
            ("\"weight\":3", "\"weight\":4000000000", "its weight"),
            ("]:8080", "]:0", "port 0"),
            ("\"orders\"", "\"*\"", "everything"),
        ] {
            assert!(body.contains(from), "{body}");
            let text = sealed("etcd", "etcd /services/", 1_000, &body.replacen(from, to, 1)).unwrap();
            let error = decode(&text, "etcd", "etcd /services/", 1_000, DAY).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
