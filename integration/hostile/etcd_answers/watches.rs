//! What an etcd may say on a watch.

use etcd_client::proto::{PbEvent, PbWatchResponse};

use super::{MIB, VALUE, begun, begun_once, case, event, long, message, raw, raw_then, right, told, value};
use crate::etcd::About::Watch;
use crate::etcd::{Case, HOSTILE, created, framed, header, key, kv};

pub(super) fn all() -> Vec<(&'static str, Case)> {
    let put = |n: u64, value: &str| {
        event(
            0,
            kv(
                key("svc-050", n),
                value,
                HOSTILE + 1 + i64::try_from(n).unwrap_or(0),
            ),
        )
    };
    vec![
        (
            "watch: bytes without end",
            case(Watch, |_| raw(|_| Some(vec![0xff; MIB]))),
        ),
        (
            "watch: a message of 256 MiB",
            case(Watch, |_| {
                begun(|n| {
                    Some(if n == 0 {
                        vec![0, 16, 0, 0, 0]
                    } else {
                        vec![0; MIB]
                    })
                })
            }),
        ),
        (
            "watch: fragments of one revision without end",
            right(case(Watch, |_| {
                told(true, |n| {
                    (0..1_000)
                        .map(|m| event(0, kv(key("svc-050", n * 1_000 + m), VALUE, HOSTILE + 1)))
                        .collect()
                })
            })),
        ),
        (
            "watch: fragments of deletions without end",
            right(case(Watch, |_| {
                told(true, |n| {
                    (0..10_000)
                        .map(|m| event(1, kv(key("svc-050", n * 10_000 + m), "", HOSTILE + 1)))
                        .collect()
                })
            })),
        ),
        (
            "watch: fragments of values of 1.4 MiB without end",
            case(Watch, move |_| {
                told(true, move |n| vec![put(n, &long(1_400_000))])
            }),
        ),
        (
            "watch: messages of 31 MiB without end",
            case(Watch, move |_| {
                told(false, move |n| {
                    (0..22).map(|m| put(n * 22 + m, &long(1_400_000))).collect()
                })
            }),
        ),
        (
            "watch: instances without end",
            case(Watch, move |_| {
                told(false, move |n| {
                    (n * 1_000..(n + 1) * 1_000).map(|n| put(n, &value(n))).collect()
                })
            }),
        ),
        (
            "watch: services without end",
            case(Watch, |_| {
                told(false, |n| {
                    (0..1_000)
                        .map(|m| {
                            event(
                                0,
                                kv(
                                    key(&format!("other-{n}-{m}"), "i"),
                                    VALUE,
                                    HOSTILE + 1 + i64::try_from(n).unwrap_or(0),
                                ),
                            )
                        })
                        .collect()
                })
            }),
        ),
        (
            "watch: keys that fit nothing, without end",
            case(Watch, |_| {
                told(false, |n| {
                    (0..1_000)
                        .map(|m| {
                            event(
                                0,
                                kv(
                                    format!("/services/{n}-{m}-{}", "x".repeat(900)),
                                    "x",
                                    HOSTILE + 1 + i64::try_from(n).unwrap_or(0),
                                ),
                            )
                        })
                        .collect()
                })
            }),
        ),
        (
            "watch: 20,000 instances deleted and others put, without end",
            case(Watch, |_| {
                told(false, |n| {
                    let at = HOSTILE + 1 + i64::try_from(n).unwrap_or(0);
                    let gone = (0..20_000)
                        .map(|m| event(1, kv(key("svc-050", n.wrapping_sub(1) * 20_000 + m), "", at)));
                    let new =
                        (n * 20_000..(n + 1) * 20_000).map(|n| event(0, kv(key("svc-050", n), value(n), at)));
                    if n == 0 {
                        new.collect()
                    } else {
                        gone.chain(new).collect()
                    }
                })
            }),
        ),
        (
            "watch: one key of 1.4 MiB again and again",
            right(case(Watch, |_| {
                told(false, |n| {
                    vec![event(
                        0,
                        kv(
                            key("svc-050", "i"),
                            long(1_400_000),
                            HOSTILE + 1 + i64::try_from(n).unwrap_or(0),
                        ),
                    )]
                })
            })),
        ),
        (
            "watch: progress without end",
            right(case(Watch, |_| told(false, |_| Vec::new()))),
        ),
        (
            "watch: created without end",
            right(case(Watch, |_| begun(|_| Some(framed(&created()))))),
        ),
        (
            "watch: canceled for a reason of 1 MiB",
            case(Watch, |_| {
                begun_once(&PbWatchResponse {
                    canceled: true,
                    cancel_reason: "x".repeat(MIB),
                    ..created()
                })
            }),
        ),
        (
            "watch: compacted again and again",
            case(Watch, |_| {
                begun_once(&PbWatchResponse {
                    canceled: true,
                    compact_revision: i64::MAX,
                    ..created()
                })
            }),
        ),
        (
            "watch: a lower revision",
            case(Watch, |_| {
                raw(|n| {
                    (n == 0).then(|| {
                        framed(&PbWatchResponse {
                            header: Some(header(3)),
                            ..created()
                        })
                    })
                })
            }),
        ),
        (
            "watch: the highest revision",
            right(case(Watch, |_| {
                begun_once(&message(
                    false,
                    vec![event(0, kv(key("svc-050", "i"), VALUE, i64::MAX))],
                ))
            })),
        ),
        (
            "watch: events without keys",
            case(Watch, |_| told(false, |_| vec![PbEvent::default(); 1_000])),
        ),
        (
            "watch: events of another kind",
            right(case(Watch, |_| {
                begun_once(&message(
                    false,
                    vec![PbEvent {
                        r#type: 9_999,
                        ..event(0, kv(key("svc-050", "i"), VALUE, HOSTILE + 1))
                    }],
                ))
            })),
        ),
        (
            "watch: events of another watch",
            case(Watch, |_| {
                begun(|_| {
                    Some(framed(&PbWatchResponse {
                        watch_id: 99,
                        ..message(false, vec![event(0, kv(key("svc-050", "i"), VALUE, HOSTILE + 1))])
                    }))
                })
            }),
        ),
        (
            "watch: events of another cluster",
            case(Watch, |_| {
                begun(|_| {
                    Some(framed(&PbWatchResponse {
                        header: Some(etcd_client::proto::PbResponseHeader {
                            cluster_id: 99,
                            ..header(HOSTILE)
                        }),
                        ..message(false, Vec::new())
                    }))
                })
            }),
        ),
        ("watch: ends at once", case(Watch, |_| raw_then(|_| None, 0, ""))),
        ("watch: silence", case(Watch, |_| raw(|_| None))),
    ]
}
