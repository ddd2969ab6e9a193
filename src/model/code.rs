//! Stable codes of what can be wrong: for `xds-bridge analyze`, and for whoever lets a pipeline decide by them. Pure.
//!
//! A code that was released keeps its name and its meaning. docs/analyze.md has the same table.

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is documented by its row")]
pub enum Code {
    SourceAway,
    SourceStale,
    RemovalsWithheld,
    EntryRejected,
    EntryWarning,
    KeyUnknown,
    ValueUnreadable,
    ValueKept,
    KeyMisplaced,
    RegisteredTwice,
    NoRoom,
    ImportNotUnderstood,
    ValuesDisagree,
    ExposureUnknown,
    RouteRefused,
    RouteContested,
    HostOwned,
    RouteShadowed,
    PriorityIgnored,
    NoEffect,
    CallerUnknown,
    CallerUnchecked,
    TokenUnknown,
    TlsUnknown,
    TargetMissing,
    NameTaken,
    TooManyVersions,
    NobodyReads,
    TooLarge,
    OverlayRefused,
    NoHealthyInstance,
    AllOff,
    NoInstance,
    ListenerUnused,
    VersionRejected,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something that was asked for is not served, or fails.
    Error,
    /// It is served, and somebody should look.
    Warning,
}

/// A code with what it means.
#[derive(Clone, Copy, Debug)]
pub struct CodeRow {
    /// Which.
    pub code: Code,
    /// As it is written.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What it means.
    pub means: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// All codes, in their order.
#[rustfmt::skip]
pub const CODES: &[CodeRow] = &[
    row(Code::SourceAway, "source-away", Level::Error, "a registry cannot be read, or is not trusted; what it said last is served", "the text says what failed; [troubleshooting.md](troubleshooting.md#sources)"),
    row(Code::SourceStale, "source-stale", Level::Warning, "a registry has not answered since the start: its last known state is served", "bring it back"),
    row(Code::RemovalsWithheld, "removals-withheld", Level::Warning, "instances left a registry, too many at once to be believed", "wait, or `xds-bridge accept SOURCE` ([removals.md](removals.md))"),
    row(Code::EntryRejected, "entry-rejected", Level::Error, "an entry of a registry is not served", "the text says what would be right"),
    row(Code::EntryWarning, "entry-warning", Level::Warning, "an entry is served, and something in it is not used", "the text says what would be right"),
    row(Code::KeyUnknown, "key-unknown", Level::Warning, "a declared key is none of ours", "`xds-bridge keys` lists all; the text may have a suggestion"),
    row(Code::ValueUnreadable, "value-unreadable", Level::Error, "the value of a declared key cannot be read", "the text says which values there are ([declarations.md](declarations.md))"),
    row(Code::ValueKept, "value-kept", Level::Warning, "what is registered now cannot be read: what was declared before stays in force", "register a value that can be read"),
    row(Code::KeyMisplaced, "key-misplaced", Level::Warning, "a key of etcd or Consul's KV store fits no layout", "[formats.md](formats.md)"),
    row(Code::RegisteredTwice, "registered-twice", Level::Warning, "an address is registered twice: the newer registration counts", "remove the older one"),
    row(Code::NoRoom, "no-room", Level::Error, "entries are left out, because a bound is reached", "raise the bound that is named ([limits.md](limits.md))"),
    row(Code::ImportNotUnderstood, "import-not-understood", Level::Warning, "a tag or key for Traefik or fabio is not read as that program reads it", "[import.md](import.md)"),
    row(Code::ValuesDisagree, "values-disagree", Level::Warning, "instances of one service declare different values", "finish the deploy, or write a policy document"),
    row(Code::ExposureUnknown, "exposure-unknown", Level::Error, "a service wants to be on an exposure that is not in bridge.toml", "add `[exposures.NAME]`, or declare one of those that are named"),
    row(Code::RouteRefused, "route-refused", Level::Error, "a declared route may not be there", "allow it by `hosts`, `paths` or `grpc` of the exposure, or change the route"),
    row(Code::RouteContested, "route-contested", Level::Error, "a declared route is that of another service", "the text names it, and each way to change that"),
    row(Code::HostOwned, "host-owned", Level::Error, "a declared route is on the host of another service", "`[exposures.NAME.owners]`, or another host"),
    row(Code::RouteShadowed, "route-shadowed", Level::Error, "no request reaches a route: an earlier one of its host takes all of them", "make the earlier one narrower, or give this one a higher priority"),
    row(Code::PriorityIgnored, "priority-ignored", Level::Warning, "the priority of a route has no effect", "the text says where it would have one"),
    row(Code::NoEffect, "no-effect", Level::Warning, "something that is declared does nothing as it stands", "the text says what is missing"),
    row(Code::CallerUnknown, "caller-unknown", Level::Error, "a service names callers that nobody can be", "the text says who is unknown, and where"),
    row(Code::CallerUnchecked, "caller-unchecked", Level::Error, "connections reach a service that names its callers, where nobody checks them", "the text names the listener"),
    row(Code::TokenUnknown, "token-unknown", Level::Error, "a route wants tokens of an issuer that is not in bridge.toml", "add `[exposures.NAME.jwt.ISSUER]`"),
    row(Code::TlsUnknown, "tls-unknown", Level::Error, "a service names a `[tls.NAME]` that is not in bridge.toml: its requests fail", "add it, with its `ca`"),
    row(Code::TargetMissing, "target-missing", Level::Error, "a route sends requests or copies to a service that cannot have them", "the text names it"),
    row(Code::NameTaken, "name-taken", Level::Error, "a name is that of something else already", "rename one of them"),
    row(Code::TooManyVersions, "too-many-versions", Level::Warning, "a service has more versions than are kept apart", "remove those that are gone"),
    row(Code::NobodyReads, "nobody-reads", Level::Error, "no version of a service can read the stored data: nobody gets its requests", "deploy one that can, or `xds-bridge data SERVICE NUMBER`"),
    row(Code::TooLarge, "too-large", Level::Error, "the endpoints of a service are too large for gRPC's own clients", "divide it, or call it through Envoy"),
    row(Code::OverlayRefused, "overlay-refused", Level::Error, "an `[[overlay]]` does not fit its resource, which is served without", "the text has the place"),
    row(Code::NoHealthyInstance, "no-healthy-instance", Level::Error, "no instance of a service is healthy", "look at the checks in the registry; `xds-bridge why SERVICE`"),
    row(Code::AllOff, "all-off", Level::Error, "each instance of a service is off, or has weight 0", "`xds-bridge why SERVICE`"),
    row(Code::NoInstance, "no-instance", Level::Error, "the last instance of a service left: its routes stay for a time and answer 503", "register one, or `xds-bridge forget SERVICE`"),
    row(Code::ListenerUnused, "listener-unused", Level::Warning, "no Envoy that connected is for a listener", "`fleets` of the listener and `node.cluster` of the Envoys must be equal"),
    row(Code::VersionRejected, "version-rejected", Level::Error, "most clients of a fleet refuse what is served", "the text has their words; undo the declaration behind it"),
];

const fn row(
    code: Code,
    name: &'static str,
    level: Level,
    means: &'static str,
    fix: &'static str,
) -> CodeRow {
    CodeRow {
        code,
        name,
        level,
        means,
        fix,
    }
}

impl Code {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static CodeRow {
        // The test below holds that each has one, at its place.
        CODES.get(self as usize).unwrap_or(&CODES[0])
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().name
    }
}

impl Level {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_row_and_a_name_of_its_own() {
        for (at, row) in CODES.iter().enumerate() {
            assert_eq!(row.code as usize, at, "{}", row.name);
            assert_eq!(row.code.as_str(), row.name);
            let same = CODES.iter().filter(|other| other.name == row.name);
            assert_eq!(same.count(), 1, "{}", row.name);
        }
        assert_eq!(CODES.len(), Code::VersionRejected as usize + 1);
    }
}
