//! Files read whole. A wrong path must not stop who reads it: never waits for a pipe, never holds more than a bound.

use std::fs::File;
use std::io::{Error, Read as _};
use std::path::Path;

/// Tokens, passwords, certificates. The largest bundles of certificates have some hundred KiB.
const SMALL: u64 = 4 << 20;

/// All bytes of a file of at most `most` bytes.
///
/// # Errors
/// What is no file (a folder, a pipe, a device), is larger, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    // Before it is opened: a pipe would keep us waiting until somebody writes.
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Error::other("it is a folder, must be a file"));
    }
    if !metadata.is_file() {
        return Err(Error::other("it is a pipe or a device, must be a file"));
    }
    let too_large = || Error::other(format!("it is larger than {} MiB", most >> 20));
    if metadata.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    // It may have grown.
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// All bytes of a token, a password, a certificate.
///
/// # Errors
/// As [`read`]; at most 4 MiB.
pub fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    read(path, SMALL)
}

/// The same where waiting for a disk would keep others waiting.
///
/// # Errors
/// As [`read_small`].
pub async fn read_small_aside(path: &Path) -> Result<Vec<u8>, Error> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_small(&path));
    reading.await.map_err(Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read_small(path).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("a folder"));
        assert!(refused(&folder.path().join("none")).contains("No such file"));
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(refused(&pipe).contains("a pipe"));
        assert!(refused(Path::new("/dev/zero")).contains("a device"));
        let file = folder.path().join("file");
        let sparse = File::create(&file).unwrap();
        sparse.set_len(SMALL).unwrap();
        assert_eq!(read_small(&file).unwrap().len() as u64, SMALL);
        sparse.set_len(SMALL + 1).unwrap();
        assert_eq!(refused(&file), "it is larger than 4 MiB");
        let link = folder.path().join("link"); // as in Kubernetes
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_small(&link).unwrap(), b"x");
        // Its size is 0 by the file system, as that of all that a kernel makes up.
        assert!(!read(Path::new("/proc/self/status"), SMALL).unwrap().is_empty());
    }
}
