//! Writing a file: all of it or nothing, also when the machine loses its power.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write as _};
use std::path::Path;

/// Replaces the file of this name in this folder, which is made if there is none.
///
/// # Errors
/// When it cannot be written; the old content is still there then.
pub fn replace(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let fresh = folder.join(format!("{name}.{}.new", std::process::id()));
    let _ = std::fs::remove_file(&fresh); // of a process of the same number that was killed
    let mut out = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.sync_all())
        .and_then(|()| std::fs::rename(&fresh, folder.join(name))); // fails where a folder has that name
    if let Err(error) = written {
        let _ = std::fs::remove_file(&fresh); // on a full disk its rest would be in the way
        return Err(error);
    }
    File::open(folder)?.sync_all() // the new name, too, is on disk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        replace(&inside, "state", "one, which is longer").unwrap();
        replace(&inside, "state", "two").unwrap();
        assert_eq!(std::fs::read_to_string(inside.join("state")).unwrap(), "two");
        assert_eq!(names(&inside), ["state"]);
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_leaves_no_rest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        assert!(replace(folder.path(), "state", "text").is_err());
        assert_eq!(names(folder.path()), ["state"]);
    }
}
