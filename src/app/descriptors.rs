//! File descriptors: the soft limit is raised to the hard one, and what the discovery port may take of them is
//! bounded, so that the admin port and the sources never go without.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Logs, listeners, the runtime, files that are read or written for a moment.
const BASE: usize = 48;

/// Connections of the admin port.
const ADMIN: usize = 64;

/// Below this many the discovery port is of no use.
const FEWEST: usize = 8;

/// Connections that each port may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) connections: usize,
    pub(super) admin: usize,
}

/// Raises the limit, and logs when it does not suffice for this many connections beside what the sources need.
pub(super) fn share(connections: usize, sources: usize) -> Share {
    let Some(limit) = raise() else {
        return Share {
            connections,
            admin: ADMIN,
        };
    };
    let share = divide(limit, connections, sources);
    if share.connections < connections {
        tracing::warn!(
            limit,
            max_connections = connections,
            used = share.connections,
            "fewer file descriptors (ulimit -n) than xds.max_connections: the discovery port takes fewer connections"
        );
    }
    share
}

/// The limit now; `None`: there is none.
fn raise() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where the system refuses more, what there is counts.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// With few descriptors the sources and the admin port keep up to three quarters.
fn divide(limit: usize, connections: usize, sources: usize) -> Share {
    let kept = (BASE + ADMIN + sources).min(limit / 4 * 3);
    Share {
        connections: connections.min((limit - kept).max(FEWEST)),
        admin: ADMIN.min((limit / 8).max(4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_share_what_there_is() {
        let share = |connections, admin| Share { connections, admin };
        assert_eq!(divide(1 << 20, 10_000, 200), share(10_000, 64));
        assert_eq!(divide(4_096, 10_000, 200), share(4_096 - 312, 64));
        assert_eq!(divide(64, 10_000, 32), share(16, 8));
        assert_eq!(divide(16, 10_000, 32), share(8, 4));
        assert_eq!(
            divide(16, 1, 32),
            share(1, 4),
            "never more than the operator allows"
        );
    }

    #[test]
    fn the_limit_is_raised() {
        let limit = raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(limit, now.current.map(|n| usize::try_from(n).unwrap()));
    }
}
