//! What an etcd may answer to a listing.

use etcd_client::proto::PbRangeResponse;

use super::{MIB, VALUE, case, listed, long, once, page, raw, raw_then, value};
use crate::etcd::About::Range;
use crate::etcd::{Answer, Case, HOSTILE, framed, header, key, kv};

pub(super) fn all() -> Vec<(&'static str, Case)> {
    vec![
        (
            "listing: bytes without end",
            case(Range, |_| raw(|_| Some(vec![0xff; MIB]))),
        ),
        (
            "listing: a message of 4 GiB",
            case(Range, |_| {
                raw(|n| {
                    Some(if n == 0 {
                        vec![0, 255, 255, 255, 255]
                    } else {
                        vec![0; MIB]
                    })
                })
            }),
        ),
        (
            "listing: a message of 30 MiB that never ends",
            case(Range, |_| {
                raw(|n| {
                    (n < 20).then(|| {
                        if n == 0 {
                            vec![0, 1, 224, 0, 0]
                        } else {
                            vec![0; MIB]
                        }
                    })
                })
            }),
        ),
        (
            "listing: a million keys at once",
            case(Range, |_| once(&page(0, 1_000_000, VALUE, false))),
        ),
        (
            "listing: pages without end, always others",
            case(Range, |nth| once(&page(nth * 10_000, 10_000, VALUE, true))),
        ),
        (
            "listing: the same page without end",
            case(Range, |_| once(&page(0, 1_000, VALUE, true))),
        ),
        (
            "listing: empty pages with more",
            case(Range, |_| once(&page(0, 0, VALUE, true))),
        ),
        (
            "listing: 20 values of 1.5 MiB in each page, without end",
            case(Range, |nth| once(&page(nth * 20, 20, &long(1_500_000), true))),
        ),
        (
            "listing: values of 31 MiB",
            case(Range, |nth| once(&page(nth, 1, &long(31 * MIB), true))),
        ),
        (
            "listing: values of ten thousand brackets",
            case(Range, |_| once(&page(0, 1_000, &"[".repeat(10_000), false))),
        ),
        (
            "listing: keys of 1 MiB",
            case(Range, |_| {
                once(&listed(
                    (0..30).map(|n| kv(format!("/services/{n:02}{}", "x".repeat(MIB)), VALUE, HOSTILE)),
                    false,
                ))
            }),
        ),
        (
            "listing: two million keys that fit nothing",
            case(Range, |nth| {
                once(&listed(
                    (0..100_000).map(|n| kv(format!("/services/{:09}", nth * 100_000 + n), "x", HOSTILE)),
                    nth < 20,
                ))
            }),
        ),
        (
            "listing: 200,000 services",
            case(Range, |nth| {
                once(&listed(
                    (0..10_000)
                        .map(|n| kv(key(&format!("svc-{:06}", nth * 10_000 + n), "i"), VALUE, HOSTILE)),
                    nth < 20,
                ))
            }),
        ),
        (
            "listing: 200,000 policies",
            case(Range, |nth| {
                once(&listed(
                    (0..10_000).map(|n| {
                        kv(
                            format!("/services/svc-{:06}/policy", nth * 10_000 + n),
                            "{}",
                            HOSTILE,
                        )
                    }),
                    nth < 20,
                ))
            }),
        ),
        (
            "listing: 90,000 instances of one service, others each time",
            case(Range, |nth| {
                let instance = |n| kv(key("svc-050", n), value(n), HOSTILE);
                once(&listed((nth * 90_000..(nth + 1) * 90_000).map(instance), false))
            }),
        ),
        (
            "listing: no header",
            case(Range, |_| {
                once(&PbRangeResponse {
                    header: None,
                    ..page(0, 10, VALUE, false)
                })
            }),
        ),
        (
            "listing: revision -1",
            case(Range, |_| {
                once(&PbRangeResponse {
                    header: Some(header(-1)),
                    ..page(0, 10, VALUE, false)
                })
            }),
        ),
        (
            "listing: the highest revision",
            case(Range, |_| {
                once(&PbRangeResponse {
                    header: Some(header(i64::MAX)),
                    ..page(0, 10, VALUE, false)
                })
            }),
        ),
        (
            "listing: said to be compressed",
            case(Range, |_| {
                raw(|n| (n == 0).then(|| [&[1, 0, 0, 16, 0][..], &[0x1f; 4_096]].concat()))
            }),
        ),
        (
            "listing: no protobuf",
            case(Range, |_| {
                raw_then(
                    |n| (n == 0).then(|| [&[0, 0, 0, 16, 0][..], &[0xff; 4_096]].concat()),
                    0,
                    "",
                )
            }),
        ),
        (
            "listing: two messages",
            case(Range, |_| {
                raw_then(|n| (n < 2).then(|| framed(&page(0, 10, VALUE, false))), 0, "")
            }),
        ),
        (
            "listing: an error of 60 KiB",
            case(Range, |_| raw_then(|_| None, 13, &"x".repeat(60_000))),
        ),
        ("listing: nothing", case(Range, |_| raw_then(|_| None, 0, ""))),
        ("listing: silence", case(Range, |_| raw(|_| None))),
        (
            "listing: 503",
            case(Range, |_| Answer {
                status: 503,
                ..raw(|n| (n < 100).then(|| vec![b'x'; MIB]))
            }),
        ),
        (
            "listing: a thousand headers",
            case(Range, |_| Answer {
                headers: (0..1_000).map(|n| (format!("x-{n}"), "y".repeat(100))).collect(),
                ..raw(|_| None)
            }),
        ),
    ]
}
