//! Reads the folder: which files are there, which of them are new. Blocking; never reads without a bound.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::document::{self, Document, Syntax};
use super::files::{Files, shown};
use crate::files;
use crate::model::Change;

/// The largest file that is read, bytes: 5,000 services of 15 instances have about 10 MiB.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A file that changes while it is read is waited for at most this time; then the others are delivered without it.
const PATIENCE: Duration = Duration::from_secs(3);

/// The folder and what was read in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    stamps: BTreeMap<OsString, Stamp>,
    /// Files that changed while they were read, each time since.
    unsettled: BTreeMap<OsString, Instant>,
    files: Files,
    /// How a file is read.
    reader: fn(&Path) -> Result<Vec<u8>, String>,
    /// The first change is complete, so that the hub knows an empty folder from an unread one.
    delivered: bool,
}

/// Tells a changed file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

/// What a look at the folder found.
#[derive(Debug)]
pub(super) struct Seen {
    /// What changed, if anything.
    pub(super) change: Option<Change>,
    /// A file was being written: look again soon.
    pub(super) unsettled: bool,
}

impl Folder {
    /// Nothing read yet.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stamps: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            files: Files::default(),
            reader: bounded,
            delivered: false,
        }
    }

    /// Reads the files that are new, differ in size or time, or are named in `dirty`.
    ///
    /// # Errors
    /// When the folder itself cannot be read; all stays as it was.
    pub(super) fn look(&mut self, dirty: &[OsString], now: Instant) -> io::Result<Seen> {
        let mut present: BTreeMap<OsString, (PathBuf, Syntax)> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(syntax) = syntax_of(&entry.file_name()) {
                present.insert(entry.file_name(), (entry.path(), syntax));
            }
        }
        let mut unsettled = false;
        let mut read: BTreeMap<OsString, Result<Document, String>> = BTreeMap::new();
        for (name, (path, syntax)) in &present {
            let stamp = match fs::metadata(path) {
                // Not only a folder: opening a pipe would wait for its writer.
                Ok(metadata) if !metadata.is_file() => continue,
                Ok(metadata) => Stamp::of(&metadata),
                Err(e) => {
                    self.stamps.remove(name);
                    read.insert(name.clone(), Err(format!("cannot be read: {e}")));
                    continue;
                }
            };
            if self.stamps.get(name) == Some(&stamp) && !dirty.contains(name) {
                continue;
            }
            let bytes = (self.reader)(path);
            if fs::metadata(path).map(|m| Stamp::of(&m)).ok() != Some(stamp) {
                let since = *self.unsettled.entry(name.clone()).or_insert(now);
                if now.duration_since(since) < PATIENCE {
                    unsettled = true;
                } else {
                    self.stamps.remove(name);
                    read.insert(name.clone(), Err("is being written all the time".to_owned()));
                }
                continue;
            }
            self.unsettled.remove(name);
            // What cannot be read is tried again: its rights may change, which its time does not tell.
            if bytes.is_ok() {
                self.stamps.insert(name.clone(), stamp);
            } else {
                self.stamps.remove(name);
            }
            let document = bytes.and_then(|bytes| document::read(&shown(name), *syntax, &bytes));
            read.insert(name.clone(), document);
        }
        self.stamps.retain(|name, _| present.contains_key(name));
        self.unsettled.retain(|name, _| present.contains_key(name));
        let present = present.into_keys().collect();
        let mut change = self.files.update(&present, read);
        // A first look at half a file would be taken for the whole.
        if !self.delivered && !unsettled {
            self.delivered = true;
            change = Some(self.files.complete());
        } else if !self.delivered {
            change = None;
        }
        Ok(Seen { change, unsettled })
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// `None`: not a file of ours; hidden and temporary files have other names.
fn syntax_of(name: &OsStr) -> Option<Syntax> {
    let hidden = name
        .as_encoded_bytes()
        .first()
        .is_some_and(|b| matches!(b, b'.' | b'#' | b'~'));
    let extension = Path::new(name).extension()?;
    match extension.to_str()? {
        _ if hidden => None,
        "toml" => Some(Syntax::Toml),
        "json" => Some(Syntax::Json),
        _ => None,
    }
}

fn bounded(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, MAX_FILE).map_err(|e| format!("cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn only_visible_toml_and_json_are_ours() {
        for name in ["shop.toml", "shop.json", "a b.toml"] {
            assert!(syntax_of(name.as_ref()).is_some(), "{name}");
        }
        for name in [
            ".shop.toml",
            "shop.toml~",
            "#shop.toml#",
            "#shop.toml",
            ".shop.toml.swp",
            "toml",
            "README.md",
        ] {
            assert!(syntax_of(name.as_ref()).is_none(), "{name}");
        }
    }

    /// Somebody writes to `grows.json` whenever it is read.
    fn growing(path: &Path) -> Result<Vec<u8>, String> {
        use std::io::Write as _;
        let bytes = bounded(path)?;
        if path.ends_with("grows.json") {
            let mut file = fs::File::options().append(true).open(path).unwrap();
            file.write_all(b" ").unwrap();
        }
        Ok(bytes)
    }

    fn write(folder: &tempfile::TempDir, name: impl AsRef<Path>, service: &str) {
        let text = format!("{{\"services\":{{\"{service}\":{{}}}}}}");
        fs::write(folder.path().join(name), text).unwrap();
    }

    fn names(change: &Change) -> Vec<&str> {
        change.services.iter().map(|(name, _)| &**name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_always_being_written_holds_the_others_up_for_a_while_only() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "a.json", "orders");
        write(&dir, "grows.json", "users");
        let mut folder = Folder::new(dir.path());
        folder.reader = growing;
        let began = clock::now();
        let look = |folder: &mut Folder, after: u64| {
            let seen = folder.look(&[], began + Duration::from_millis(after)).unwrap();
            (seen.change, seen.unsettled)
        };
        assert_eq!(look(&mut folder, 0), (None, true));
        assert_eq!(look(&mut folder, 2999), (None, true));
        let (change, unsettled) = look(&mut folder, 3000);
        let change = change.unwrap();
        assert!(
            change.complete && !unsettled && names(&change) == ["orders"],
            "{change:?}"
        );
        let stray = change.stray.unwrap();
        assert_eq!((stray.len(), stray[0].entry.as_str()), (1, "grows.json"));
        assert_eq!(look(&mut folder, 3500), (None, false), "said once");
        // Quiet at last; then again, and its last good content stays.
        folder.reader = bounded;
        let change = look(&mut folder, 4000).0.unwrap();
        assert_eq!((names(&change), &change.stray), (vec!["users"], &Some(vec![])));
        folder.reader = growing;
        write(&dir, "grows.json", "stock-and-more");
        assert_eq!(look(&mut folder, 5000), (None, true));
        let change = look(&mut folder, 8000).0.unwrap();
        assert_eq!(change.services, []);
        assert!(change.stray.unwrap()[0].reason.contains("last good content"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_read_is_tried_again_unasked() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "a.json", "orders");
        let mut folder = Folder::new(dir.path());
        folder.reader = |_| Err("cannot be read: permission denied".to_owned());
        let change = folder.look(&[], clock::now()).unwrap().change.unwrap();
        assert_eq!(
            (names(&change).len(), change.stray.map(|s| s.len())),
            (0, Some(1))
        );
        folder.reader = bounded;
        let change = folder.look(&[], clock::now()).unwrap().change.unwrap();
        assert_eq!(names(&change), ["orders"]);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn two_names_that_look_the_same_are_two_files() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().unwrap();
        write(&dir, OsStr::from_bytes(b"\xfe.json"), "orders");
        write(&dir, OsStr::from_bytes(b"\xff.json"), "users");
        let mut folder = Folder::new(dir.path());
        let change = folder.look(&[], clock::now()).unwrap().change.unwrap();
        assert_eq!(names(&change), ["orders", "users"]);
        fs::remove_file(dir.path().join(OsStr::from_bytes(b"\xff.json"))).unwrap();
        let change = folder.look(&[], clock::now()).unwrap().change.unwrap();
        assert_eq!(names(&change), ["users"]);
        assert!(change.services[0].1.is_none());
    }

    #[test]
    fn a_file_beyond_the_bound_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.json");
        fs::File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(
            bounded(&path).unwrap_err(),
            "cannot be read: it is larger than 64 MiB"
        );
    }
}
