//! What errors add up to, and that they stay within bounds.

use std::time::Duration;

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failed<'a>(cluster: &'a str, path: &'a str) -> Entry<'a> {
    Entry {
        cluster,
        upstream: "10.0.0.7:80".parse().ok(),
        verb: "GET",
        path,
        status: Status::Http(500),
        took: Duration::from_millis(7),
        ..Entry::default()
    }
}

#[test]
fn errors_of_the_same_kind_are_one_line() {
    let mut table = Table::new(Limits::default());
    let mut allowance = Allowance::new(at(0));
    let mut one = failed("orders@b", "/orders/17");
    one.message = "no%20such%0Atable";
    assert!(table.record(&mut allowance, &one, at(1)));
    one.path = "/orders/18?x=1";
    one.message = "another";
    one.took = Duration::from_secs(200);
    assert!(table.record(&mut allowance, &one, at(5)));
    let call = Entry {
        verb: "POST",
        path: "/shop.Orders/Get",
        status: Status::Grpc(14),
        ..failed("orders@b", "")
    };
    assert!(table.record(&mut allowance, &call, at(6)));
    assert!(table.record(&mut allowance, &failed("orders", "/"), at(7)));
    assert!(table.record(&mut allowance, &failed("ordersx", "/"), at(7)));
    let found = table.errors(Some("orders"), 10);
    let names: Vec<&str> = found.iter().map(|of| &*of.cluster).collect();
    assert_eq!(names, ["orders", "orders@b"]);
    assert_eq!((found[0].version(), found[1].version()), (None, Some("b")));
    let of = &found[1];
    assert_eq!((of.total, of.other, of.first, of.last), (3, 0, at(1), at(6)));
    let shown: Vec<String> = of.lines.iter().map(show).collect();
    assert_eq!(
        shown,
        [
            "2 GET /orders/* 500 10.0.0.7:80 `no such\u{fffd}table` 1..5",
            "1 shop.Orders/Get UNAVAILABLE 10.0.0.7:80 `` 6..6",
        ]
    );
    assert_eq!(of.lines[0].took, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(table.errors(None, 1).len(), 3);
    assert_eq!(table.errors(Some("orders"), 1)[1].lines.len(), 1);
}

fn show(line: &Line) -> String {
    let upstream = line.upstream.map_or_else(String::new, |at| at.to_string());
    format!(
        "{} {} {}{} {upstream} `{}` {}..{}",
        line.count,
        line.method,
        line.status,
        line.flags,
        line.message,
        line.first.as_secs(),
        line.last.as_secs()
    )
}

#[test]
fn errors_are_those_of_the_version_that_listens_there() {
    let mut table = Table::new(Limits::default());
    let mut allowance = Allowance::new(at(0));
    let (new, other_new, old) = ("10.0.0.7:80", "10.0.0.8:80", "10.0.0.9:80");
    for (n, (cluster, upstream)) in [
        ("orders@b", new),
        ("orders@b", other_new),
        ("orders@b", other_new),
        // A failed request is tried again there.
        ("orders@b", old),
        ("orders@a", old),
        ("orders", new),
    ]
    .into_iter()
    .enumerate()
    {
        let entry = Entry {
            upstream: upstream.parse().ok(),
            ..failed(cluster, "/list")
        };
        table.record(&mut allowance, &entry, at(n as u64));
    }
    let nowhere = Entry {
        upstream: None,
        ..failed("orders@b", "/list")
    };
    table.record(&mut allowance, &nowhere, at(9));
    let clusters = table.errors(Some("orders"), 10);
    let version_of = |at: std::net::SocketAddr| {
        let version = if at.to_string() == old { "a" } else { "b" };
        Some(version.into())
    };
    let lines = by_version(&clusters, version_of);
    let shown: Vec<String> = lines
        .iter()
        .map(|(v, line)| format!("{v}: {}", show(line)))
        .collect();
    assert_eq!(
        shown,
        [
            "b: 5 GET /list 500 10.0.0.8:80 `` 0..9",
            "a: 2 GET /list 500 10.0.0.9:80 `` 3..4",
        ]
    );
    let by_cluster = by_version(&clusters, |_| None);
    let counts: Vec<(&str, u64)> = by_cluster.iter().map(|(v, line)| (&**v, line.count)).collect();
    assert_eq!(counts, [("b", 5), ("", 1), ("a", 1)]);
}

#[test]
fn what_finds_no_room_is_counted() {
    let limits = Limits {
        clusters: 2,
        lines: 3,
        ..Limits::default()
    };
    let mut table = Table::new(limits);
    let mut allowance = Allowance::new(at(0));
    let paths = ["/a", "/b", "/c", "/d", "/a", "/e"];
    let found = paths.map(|path| table.record(&mut allowance, &failed("one", path), at(1)));
    assert_eq!(found, [true, true, true, false, true, false]);
    assert!(table.record(&mut allowance, &failed("two", "/a"), at(1)));
    assert!(!table.record(&mut allowance, &failed("three", "/a"), at(1)));
    let one = &table.errors(Some("one"), 10)[0];
    assert_eq!((one.total, one.other, one.lines.len()), (6, 2, 3));
    assert_eq!(table.lost(), 1);
}

#[test]
fn old_errors_go_and_make_room() {
    let limits = Limits {
        lines: 1,
        age: at(100),
        ..Limits::default()
    };
    let mut table = Table::new(limits);
    let mut allowance = Allowance::new(at(0));
    assert!(table.record(&mut allowance, &failed("one", "/a"), at(1)));
    assert!(table.record(&mut allowance, &failed("two", "/a"), at(1)));
    assert!(!table.record(&mut allowance, &failed("two", "/b"), at(90)));
    assert!(table.record(&mut allowance, &failed("two", "/b"), at(150)));
    let all = table.errors(None, 10);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].total, &*all[0].lines[0].method), (3, "GET /b"));
}

#[test]
fn one_stream_cannot_fill_the_room_of_all() {
    let limits = Limits {
        lines: 100_000,
        ..Limits::default()
    };
    let mut table = Table::new(limits);
    let mut hostile = Allowance::new(at(0));
    let found = (0..5_000).filter(|n| {
        let path = format!("/{}", letters(*n));
        table.record(&mut hostile, &failed("one", &path), at(10))
    });
    assert_eq!(found.count(), 299, "the cluster, and lines");
    let path = format!("/{}", letters(9_000));
    assert!(table.record(&mut hostile, &failed("one", &path), at(12)));
    let mut other = Allowance::new(at(12));
    assert!(table.record(&mut other, &failed("one", "/found"), at(12)));
}

#[test]
fn bytes_are_bounded_whatever_is_sent() {
    let limits = Limits {
        bytes: 100_000,
        clusters: usize::MAX,
        lines: usize::MAX,
        ..Limits::default()
    };
    let mut table = Table::new(limits);
    for n in 0..2_000 {
        let mut allowance = Allowance::new(at(0));
        let (name, path) = (format!("service-{}", n % 700), format!("/{}", letters(n)));
        let mut entry = failed(&name, &path);
        let message = "x".repeat(n);
        entry.message = &message;
        table.record(&mut allowance, &entry, at(1));
    }
    let all = table.errors(None, usize::MAX);
    let texts = all.iter().map(|of| {
        let lines = of.lines.iter().map(|line| line.message.len() + line.method.len());
        of.cluster.len() + lines.sum::<usize>()
    });
    let kept: usize = texts.sum();
    assert!(kept > 10_000 && kept < 100_000, "{kept}");
    let counted: u64 = all.iter().map(|of| of.total).sum();
    assert_eq!(counted + table.lost(), 2_000, "none is forgotten");
}

/// A word without digits.
fn letters(mut n: usize) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'a' + u8::try_from(n % 26).unwrap_or(0)));
        n /= 26;
        if n == 0 {
            return word;
        }
    }
}
