//! Versions: hashes of contents.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// A content hash: the same bytes have the same version in each process.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }
}

impl Version {
    /// Whether this is how the version is written.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        let byte = |at: usize| self.0.to_be_bytes()[at / 2] >> (4 * (1 - at % 2)) & 0xf;
        let digit = |at: usize| b"0123456789abcdef"[usize::from(byte(at))];
        text.len() == 16 && text.bytes().enumerate().all(|(at, byte)| byte == digit(at))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_it_is_written_as() {
        for version in [Version(0), Version(u64::MAX), Version(0x0123_4567_89ab_cdef)] {
            let text = version.to_string();
            assert!(version.is(&text));
            assert!(!Version(version.0 ^ 1).is(&text) && !version.is(&text[1..]));
        }
        assert!(!Version(0xa).is("000000000000000A") && !Version(0).is(""));
    }
}
