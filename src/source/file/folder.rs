//! Reads the folder: which files are there, which of them are new. Blocking; never reads without a bound.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::document::{self, Document, Syntax};
use super::files::Files;
use crate::model::Change;

/// The largest file that is read, bytes: 5,000 services of 15 instances have about 10 MiB.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The folder and what was read in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    stamps: BTreeMap<OsString, Stamp>,
    files: Files,
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
            files: Files::default(),
            delivered: false,
        }
    }

    /// Reads the files that are new, differ in size or time, or are named in `dirty`.
    ///
    /// # Errors
    /// When the folder itself cannot be read; all stays as it was.
    pub(super) fn look(&mut self, dirty: &[OsString]) -> io::Result<Seen> {
        let mut present: BTreeMap<OsString, (PathBuf, Syntax)> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(syntax) = syntax_of(&entry.file_name()) {
                present.insert(entry.file_name(), (entry.path(), syntax));
            }
        }
        let mut unsettled = false;
        let mut read: BTreeMap<String, Result<Document, String>> = BTreeMap::new();
        for (name, (path, syntax)) in &present {
            let shown = name.to_string_lossy().into_owned();
            let stamp = match fs::metadata(path) {
                // Not only a folder: opening a pipe would wait for its writer.
                Ok(metadata) if !metadata.is_file() => continue,
                Ok(metadata) => Stamp::of(&metadata),
                Err(e) => {
                    self.stamps.remove(name);
                    read.insert(shown, Err(format!("cannot be read: {e}")));
                    continue;
                }
            };
            if self.stamps.get(name) == Some(&stamp) && !dirty.contains(name) {
                continue;
            }
            let bytes = bounded(path, stamp.len);
            if fs::metadata(path).map(|m| Stamp::of(&m)).ok() != Some(stamp) {
                unsettled = true;
                continue;
            }
            self.stamps.insert(name.clone(), stamp);
            let document = bytes.and_then(|bytes| document::read(&shown, *syntax, &bytes));
            read.insert(shown, document);
        }
        self.stamps.retain(|name, _| present.contains_key(name));
        let present = present
            .keys()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
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

fn bounded(path: &Path, len: u64) -> Result<Vec<u8>, String> {
    let too_large = || format!("is larger than {MAX_FILE} bytes");
    if len > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_file_beyond_the_bound_is_not_read() {
        assert!(
            bounded(Path::new("does-not-exist"), MAX_FILE + 1)
                .unwrap_err()
                .contains("larger")
        );
    }
}
