//! Small files that an operator names: tokens, passwords, certificates. Read whole and anew each time.
//! Never waits for a pipe, and never holds more than a bound: a wrong path must not stop its source.

use std::io::{Error, Read as _};
use std::path::Path;

/// The largest bundles of certificates have some hundred KiB.
const LONGEST: u64 = 4 << 20;

/// All bytes of a file.
///
/// # Errors
/// What is no file (a pipe, a device), is larger than 4 MiB, or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    // Before it is opened: a pipe would keep us waiting until somebody writes.
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Error::other("it is a folder, must be a file"));
    }
    if !metadata.is_file() {
        return Err(Error::other("it is a pipe or a device, must be a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::other("it is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// The same where waiting for a disk would keep others waiting.
///
/// # Errors
/// As [`read`].
pub async fn read_aside(path: &Path) -> Result<Vec<u8>, Error> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&path));
    reading.await.map_err(Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read(path).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("a folder"));
        assert!(refused(&folder.path().join("none")).contains("No such file"));
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(refused(&pipe).contains("a pipe"));
        assert!(refused(Path::new("/dev/zero")).contains("a device"));
        let file = folder.path().join("file");
        let sparse = std::fs::File::create(&file).unwrap();
        sparse.set_len(LONGEST).unwrap();
        assert_eq!(read(&file).unwrap().len() as u64, LONGEST);
        sparse.set_len(LONGEST + 1).unwrap();
        assert!(refused(&file).contains("larger"));
        let link = folder.path().join("link"); // as in Kubernetes
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&link).unwrap(), b"x");
    }
}
