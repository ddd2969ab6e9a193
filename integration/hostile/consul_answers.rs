//! What a Consul may answer.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use crate::answer::Answer;
use crate::consul::{About, Ask, Case, instance};

use About::{Health, Keys, Names};

const MIB: usize = 1 << 20;

/// As many pairs of Meta.
static A_MILLION: LazyLock<String> = LazyLock::new(|| {
    (0..1_000_000).fold(String::new(), |mut all, n| {
        write!(all, ",\"k{n}\":\"v\"").expect("a string");
        all
    })
});

/// All of them, by what they are.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let second = Duration::from_secs(1);
    vec![
        (
            "names: spaces without end",
            case(Names, |_| Answer::of("{").for_ever(vec![b' '; MIB])),
        ),
        (
            "names: names without end",
            case(Names, |_| {
                Answer::of("{\"consul\":[]")
                    .chunked()
                    .then(u64::MAX, names_of, "")
            }),
        ),
        ("names: 99,000", case(Names, |_| names(0, 99_000))),
        ("names: a million", case(Names, |_| names(0, 1_000_000))),
        (
            "names: 50,000 others each time, at once",
            at_once(Names, |ask| {
                names(ask.nth * 50_000, 50_000).index((1_500 + ask.nth).to_string())
            }),
        ),
        (
            "names: 60 of 512 KiB",
            case(Names, |_| {
                Answer::of("{\"consul\":[]").then(
                    60,
                    |n| format!(",\"{}{n}\":[]", "x".repeat(MIB / 2)).into(),
                    "}",
                )
            }),
        ),
        (
            "names: sixteen million brackets",
            case(Names, |_| Answer::of(vec![b'['; 16 * MIB])),
        ),
        (
            "names: two million tags",
            right(case(Names, |_| {
                Answer::of("{\"consul\":[\"\"").then(2_000, |_| ",\"tag-of-it\"".repeat(1_000).into(), "]}")
            })),
        ),
        ("names: a list", case(Names, |_| Answer::of("[1e999]"))),
        (
            "names: cut in the middle",
            case(Names, |_| Answer::of("{\"consul\":[],\"svc-0")),
        ),
        (
            "names: less than was said, then the end",
            case(Names, |_| Answer::of("{\"consul\":[]").claims(1 << 40).closing()),
        ),
        (
            "names: less than was said, then silence",
            right(case(Names, |_| {
                Answer::of("{\"consul\":[]")
                    .claims(9_999)
                    .then(1, |_| Vec::new(), "")
                    .each(Duration::from_secs(999))
            })),
        ),
        (
            "names: more than was said",
            case(Names, |_| {
                Answer::of("{\"consul\":[],\"a\":[]}HTTP/1.1 200 OK\r\n\r\n").claims(2)
            }),
        ),
        (
            "names: one byte a second",
            right(case(Names, move |_| Answer::of("{").for_ever(" ").each(second))),
        ),
        (
            "names: said to be compressed",
            case(Names, |_| {
                Answer::of(vec![0x1f; 4_096]).header("Content-Encoding", "gzip")
            }),
        ),
        (
            "names: a header of 2 MiB",
            case(Names, |_| Answer::of("{}").header("X-Long", &"x".repeat(2 * MIB))),
        ),
        (
            "names: a hundred thousand headers",
            case(Names, |_| {
                (0..100_000).fold(Answer::of("{}"), |answer, n| {
                    answer.header(&format!("X-{n}"), "1")
                })
            }),
        ),
        (
            "names: headers without end",
            case(Names, |_| {
                Answer::raw("HTTP/1.1 200 OK\r\n").for_ever("X-A: b\r\n".repeat(1_000))
            }),
        ),
        (
            "names: 100 Continue without end",
            case(Names, |_| {
                Answer::raw("").for_ever("HTTP/1.1 100 Continue\r\n\r\n")
            }),
        ),
        (
            "names: index 0, at once",
            right(at_once(Names, |_| Answer::of("{\"consul\":[]}").index("0"))),
        ),
        (
            "names: the highest index",
            right(case(Names, |_| {
                Answer::of("{\"consul\":[]}").index(u64::MAX.to_string())
            })),
        ),
        (
            "names: an index that is none",
            case(Names, |_| Answer::of("{\"consul\":[]}").index("-7")),
        ),
        (
            "names: 500 without end",
            case(Names, |_| {
                Answer::of("no")
                    .status("500 Internal Server Error")
                    .for_ever(vec![b'x'; MIB])
            }),
        ),
        (
            "names: 403 without end",
            case(Names, |_| {
                Answer::of("no").status("403 Forbidden").for_ever(vec![b'x'; MIB])
            }),
        ),
        (
            "names: moved to itself",
            case(Names, |_| {
                Answer::of("")
                    .status("301 Moved Permanently")
                    .header("Location", "/v1/catalog/services")
            }),
        ),
        (
            "names: a page of HTML",
            case(Names, |_| Answer::of("<html>".repeat(10_000))),
        ),
        ("names: no HTTP", case(Names, |_| Answer::raw(vec![0xfe; MIB]))),
        (
            "names: HTTP/2",
            case(Names, |_| Answer::raw(b"\0\0\0\x04\0\0\0\0\0".repeat(100))),
        ),
        ("names: closed at once", case(Names, |_| Answer::raw(""))),
        (
            "names: silence",
            right(case(Names, |_| {
                Answer::raw("")
                    .then(1, |_| Vec::new(), "")
                    .each(Duration::from_secs(999))
            })),
        ),
        (
            "names: a chunk of all bytes there are",
            case(Names, |_| {
                Answer::raw("HTTP/1.1 200 OK\r\nX-Consul-Index: 9\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n").for_ever(vec![b' '; MIB])
            }),
        ),
        (
            "names: chunks of one byte",
            right(case(Names, |_| {
                Answer::raw("HTTP/1.1 200 OK\r\nX-Consul-Index: 9\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .for_ever("1\r\n \r\n".repeat(10_000))
            })),
        ),
        (
            "names: an extension of a chunk without end",
            case(Names, |_| {
                Answer::raw("HTTP/1.1 200 OK\r\nX-Consul-Index: 9\r\nTransfer-Encoding: chunked\r\n\r\n1;")
                    .for_ever(vec![b'x'; MIB])
            }),
        ),
        (
            "names: trailers without end",
            case(Names, |_| {
                Answer::raw("HTTP/1.1 200 OK\r\nX-Consul-Index: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
                    .for_ever("X-A: b\r\n".repeat(1_000))
            }),
        ),
        (
            "health: 40,000 instances of each service",
            case(Health, |ask| instances(&ask.name, 0, 40_000)),
        ),
        (
            "health: 20,000 others each time, at once",
            at_once(Health, |ask| {
                instances(&ask.name, ask.nth * 20_000, 20_000).index((1_500 + ask.nth).to_string())
            }),
        ),
        (
            "health: 31 MiB of spaces for each service",
            case(Health, |_| Answer::of("[").then(31, |_| vec![b' '; MIB], "]")),
        ),
        (
            "health: 46 MiB for each service",
            case(Health, |_| Answer::of("[").then(46, |_| vec![b' '; MIB], "]")),
        ),
        (
            "health: 4,000 Meta of 7 KB",
            case(Health, |ask| {
                one_with(
                    &ask.name,
                    ",\"Meta\":{\"a\":\"b\"",
                    4_000,
                    |n| format!(",\"key{n}\":\"{}\"", "v".repeat(7_000)),
                    "}",
                )
            }),
        ),
        (
            "health: a million Meta",
            case(Health, |ask| {
                let all = |_| A_MILLION.clone();
                one_with(&ask.name, ",\"Meta\":{\"a\":\"b\"", 1, all, "}")
            }),
        ),
        (
            "health: Meta of sixteen million brackets",
            case(Health, |ask| {
                Answer::of(format!(
                    "[{}",
                    one(&ask.name, ",\"Meta\":").trim_end_matches("},\"Checks\":[]}")
                ))
                .then(16, |_| vec![b'['; MIB], "")
            }),
        ),
        (
            "health: 40,000 entries of nothing",
            case(Health, |_| {
                Answer::of("[{}").then(39_999, |_| b",{}".to_vec(), "]")
            }),
        ),
        (
            "health: a thousand entries of 30 KB that cannot be read",
            case(Health, |_| {
                Answer::of("[1").then(
                    1_000,
                    |_| format!(",{{\"Service\":{{\"ID\":[\"{}\"]}}}}", "x".repeat(30_000)).into(),
                    "]",
                )
            }),
        ),
        (
            "health: other indexes at once",
            right(at_once(Health, |ask| {
                instances(&ask.name, 0, 1).index((1_500 + ask.nth).to_string())
            })),
        ),
        ("health: closed at once", case(Health, |_| Answer::raw(""))),
        (
            "keys: a million",
            right(case(Keys, |ask| {
                if ask.is_list() {
                    return keys(1_000_000);
                }
                Answer::of("").status("404 Not Found")
            })),
        ),
        (
            "keys: 30 MiB in each",
            case(Keys, |ask| {
                if ask.is_list() {
                    return keys(1_000);
                }
                Answer::of("[{\"Key\":\"xds/svc-001/policy\",\"Value\":\"").then(
                    30,
                    |_| vec![b'e'; MIB],
                    "\"}]",
                )
            }),
        ),
    ]
}

fn case(about: About, answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Case {
    Case {
        about,
        answer: Box::new(answer),
        at_once: false,
        quiet: false,
    }
}

/// Nothing is to be said of it: a right answer, or one that a blocking read of five minutes may still await.
fn right(case: Case) -> Case {
    Case { quiet: true, ..case }
}

fn at_once(about: About, answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Case {
    Case {
        at_once: true,
        ..case(about, answer)
    }
}

/// A thousand names.
fn names_of(nth: u64) -> Vec<u8> {
    let mut text = String::new();
    for n in nth * 1_000..(nth + 1) * 1_000 {
        write!(text, ",\"name-{n}\":[]").expect("a string");
    }
    text.into()
}

/// So many keys of policy documents.
fn keys(count: u64) -> Answer {
    let some = |nth: u64| {
        let mut text = String::new();
        for n in nth * 1_000..(nth + 1) * 1_000 {
            write!(text, ",\"xds/svc-{n:03}/policy\"").expect("a string");
        }
        text.into()
    };
    Answer::of("[\"xds/a/policy\"").then(count / 1_000, some, "]")
}

fn names(from: u64, count: u64) -> Answer {
    Answer::of("{\"consul\":[]").then(count / 1_000, move |nth| names_of(from / 1_000 + nth), "}")
}

fn instances(name: &str, from: u64, count: u64) -> Answer {
    let name = name.to_owned();
    let some = move |nth: u64| {
        let mut text = String::new();
        for n in from + nth * 1_000..from + (nth + 1).saturating_mul(1_000).min(count) {
            let address = format!("10.{}.{}.{}", (n >> 16) & 255, (n >> 8) & 255, n & 255);
            let comma = if n == from { "" } else { "," };
            write!(
                text,
                "{comma}{}",
                instance(&name, &format!("i{n}"), &address, 80, "")
            )
            .expect("a string");
        }
        text.into()
    };
    Answer::of("[").then(count.div_ceil(1_000), some, "]")
}

fn one(name: &str, more: &str) -> String {
    instance(name, "i", "10.0.0.1", 1, more)
}

/// One instance with so many pieces of something.
fn one_with(
    name: &str,
    more: &str,
    pieces: u64,
    piece: impl Fn(u64) -> String + Send + Sync + 'static,
    end: &str,
) -> Answer {
    let rest = "},\"Checks\":[]}";
    let entry = one(name, more);
    let begun = entry.strip_suffix(rest).unwrap_or(&entry);
    Answer::of(format!("[{begun}")).then(pieces, move |n| piece(n).into(), &format!("{end}{rest}]"))
}
