//! How an attempt failed: the status that came back, and what Envoy noticed by itself. Pure.

use std::fmt;

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Nothing.
    #[default]
    None,
    /// An HTTP status.
    Http(u16),
    /// A status of gRPC, by its number.
    Grpc(u8),
}

/// By number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// As Envoy counts it: a status of 500 and above, and the codes 2, 4 and 12 to 15 of gRPC.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::None => false,
            Self::Http(code) => code >= 500,
            Self::Grpc(code) => matches!(code, 2 | 4 | 12..=15),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no response"),
            Self::Http(code) => write!(f, "{code}"),
            Self::Grpc(code) => match GRPC.get(usize::from(*code)) {
                Some(name) => f.write_str(name),
                None => write!(f, "gRPC {code}"),
            },
        }
    }
}

/// What Envoy noticed of an attempt, as its access logs write it (`UF`, `UC`): `ResponseFlags`, a bit for each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(u32);

/// By the number of the field; `true`: the attempt failed. Nothing is said of what is not here.
const FLAGS: [(u32, &str, bool); 12] = [
    (3, "UT", true),     // no response in time
    (4, "LR", false),    // Envoy reset the connection
    (5, "UR", true),     // the server reset the stream
    (6, "UF", true),     // no connection
    (7, "UC", true),     // the connection ended
    (8, "UO", true),     // too many requests at once
    (15, "DC", false),   // the client has gone
    (16, "URX", false),  // it was the last attempt
    (20, "UMSDR", true), // it took longer than `max-stream-duration`
    (24, "UPE", true),   // the server does not speak the protocol
    (28, "DR", false),   // the client has reset the stream
    (29, "OM", false),   // Envoy is out of memory
];

impl Flags {
    /// Of these fields of `ResponseFlags`.
    #[must_use]
    pub fn of(fields: impl IntoIterator<Item = u32>) -> Self {
        let known = |field: &u32| FLAGS.iter().any(|(number, ..)| number == field);
        let bits = fields.into_iter().filter(known);
        Self(bits.fold(0, |all, field| all | 1 << field))
    }

    /// One of them alone says that the attempt failed.
    #[must_use]
    pub fn is_error(self) -> bool {
        FLAGS.iter().any(|(field, _, failed)| *failed && self.has(*field))
    }

    const fn has(self, field: u32) -> bool {
        self.0 & 1 << field != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = FLAGS.iter().filter(|(field, ..)| self.has(*field));
        for (n, (_, name, _)) in names.enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_by_its_name() {
        let shown = |status: Status| status.to_string();
        assert_eq!(shown(Status::Http(503)), "503");
        assert_eq!(shown(Status::Grpc(14)), "UNAVAILABLE");
        assert_eq!(shown(Status::Grpc(99)), "gRPC 99");
        assert_eq!(shown(Status::None), "no response");
    }

    #[test]
    fn errors_are_those_that_envoy_counts() {
        let errors: Vec<u8> = (0..=20).filter(|code| Status::Grpc(*code).is_error()).collect();
        assert_eq!(errors, [2, 4, 12, 13, 14, 15]);
        assert!(Status::Http(500).is_error() && !Status::Http(499).is_error() && !Status::None.is_error());
    }

    #[test]
    fn flags_are_shown_as_access_logs_write_them() {
        let flags = Flags::of([16, 3, 3, 13, 40]);
        assert_eq!((flags.to_string().as_str(), flags.is_error()), ("UT,URX", true));
        let gone = Flags::of([15, 28]);
        assert_eq!((gone.to_string().as_str(), gone.is_error()), ("DC,DR", false));
        assert_eq!(Flags::default().to_string(), "");
    }
}
