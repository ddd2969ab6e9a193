//! Histories that once broke a rule, as they were made smaller, and what each was about. A new one is pasted from what
//! a run prints. They are not drawn again: another way to draw histories leaves them as they are.

use crate::history::{Action, Declaration, History, Manner, Setup, Step};

fn declare(after: u32, (service, instance): (u8, u8), how: Declaration) -> Step {
    Step {
        after,
        what: Action::Declare {
            service,
            instance,
            how: Declaration {
                place: (service, instance),
                ..how
            },
        },
    }
}

fn plain() -> Declaration {
    Declaration {
        weight: 1,
        ..Declaration::default()
    }
}

/// All of them, with a name for each.
pub(crate) fn all() -> Vec<(&'static str, History)> {
    vec![
        (
            "an Envoy that connects again warms a cluster that changed meanwhile, whose endpoints did not",
            changed_meanwhile(),
        ),
        (
            "a client that does not answer for long reads a route before its cluster",
            frozen(),
        ),
    ]
}

fn changed_meanwhile() -> History {
    let version = |version, routes: &[u8]| Declaration {
        version,
        routes: routes.to_vec(),
        ..plain()
    };
    let what = |after, what| Step { after, what };
    History {
        setup: Setup {
            dice: 10_823_043_122_334_066_145,
            bridges: 1,
            clients: vec![Manner::EnvoyDelta],
        },
        steps: vec![
            declare(0, (2, 3), version(1, &[5])),
            what(605, Action::SetBack { bridge: 0, events: 3 }),
            declare(23, (2, 3), version(2, &[])),
            what(
                0,
                Action::Cut {
                    client: 0,
                    noticed_after: 0,
                },
            ),
            what(12_328, Action::Refill),
            declare(5_488, (3, 3), plain()),
        ],
    }
}

fn frozen() -> History {
    let what = |after, what| Step { after, what };
    History {
        setup: Setup {
            dice: 7,
            bridges: 1,
            clients: vec![Manner::EnvoyDelta, Manner::EnvoySotw],
        },
        steps: vec![
            declare(0, (0, 0), plain()),
            what(
                2_000,
                Action::Freeze {
                    client: 0,
                    ms: 30_000,
                },
            ),
            what(
                0,
                Action::Freeze {
                    client: 1,
                    ms: 30_000,
                },
            ),
            declare(100, (1, 0), plain()),
            declare(500, (2, 0), plain()),
            what(0, Action::Jump { seconds: 70 }),
            what(0, Action::Quiet),
        ],
    }
}
