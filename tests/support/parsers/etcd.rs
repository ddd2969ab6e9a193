//! Histories of one prefix of etcd. Input: a byte for the format (a built-in one, or six more bytes that make
//! a table), then changes with 0xff between them: what happens, which key, its value.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use xds_bridge::config::{EtcdPrefix, Format, SourceConfig, load_str};
use xds_bridge::model::{Change, ServiceRecord};
use xds_bridge::registry::etcd::{Event, Kv, MAX_VALUE};
use xds_bridge::source::etcd::State;

const PREFIX: &str = "/p/";
const PRESETS: [&str; 10] = [
    "grpc-naming",
    "host-port",
    "go-micro",
    "kratos",
    "go-zero",
    "kitex",
    "hertz",
    "dubbo-app",
    "skydns",
    "apisix",
];
/// Such as the formats know; other numbers take the key from the input, up to 0xfe.
const KEYS: [&str; 10] = [
    "a/1",
    "a/2",
    "b/1",
    "a",
    "a/policy",
    "a/instances/1",
    "a/instances/2",
    "a/b/1",
    "x/a/y/1",
    "7",
];
/// A longer history shows nothing more.
const MAX_CHANGES: usize = 40;

type Records = BTreeMap<Arc<str>, ServiceRecord>;

/// Plays one history.
pub(crate) fn etcd_value(input: &[u8]) {
    let Some((choice, mut rest)) = input.split_first() else {
        return;
    };
    let format = match PRESETS.get(usize::from(*choice)) {
        Some(name) => Format::preset(name),
        None if choice % 4 == 3 => Some(Arc::new(Format::native())),
        None => {
            let (bits, after) = rest.split_at(rest.len().min(6));
            rest = after;
            own(bits)
        }
    };
    let Some(format) = format else {
        return;
    };
    let prefix = EtcdPrefix {
        prefix: PREFIX.to_owned(),
        format,
        keys: None,
    };
    let mut state = State::new(&prefix);
    let (mut live, mut records) = (BTreeMap::new(), Records::new());
    for change in rest.split(|byte| *byte == 0xff).take(MAX_CHANGES) {
        let Some(event) = event(change, &live) else {
            continue;
        };
        let said = state.apply([event.clone()]);
        hold(&said, &event);
        take(&mut records, &said);
        assert_eq!(
            state.apply([event.clone()]),
            Change::default(),
            "a replay changes something"
        );
        match event {
            Event::Put(kv) => drop(live.insert(kv.key.clone(), kv)),
            Event::Delete { key, .. } => drop(live.remove(&key)),
        }
    }
    bad_neighbours(&mut state, &live, &records);
    for kvs in [live.values().collect::<Vec<_>>(), live.values().rev().collect()] {
        let mut relisting = state.relist(false);
        for kv in kvs {
            relisting.put(&state, kv);
        }
        let listed = relisting.finish(&mut state);
        let mut anew = Records::new();
        take(&mut anew, &listed);
        assert_eq!(
            anew, records,
            "a listing says something else than the changes did"
        );
    }
}

/// A table of `[formats.own]` made of choices.
fn own(bits: &[u8]) -> Option<Arc<Format>> {
    const FIELDS: [&str; 8] = ["address", "host", "a", "nodes", "m.a", "weight", "port", "m"];
    let byte = |n: usize| usize::from(bits.get(n).copied().unwrap_or_default());
    let key = [
        "{service}/{id}",
        "{service...}/{id}",
        "{domain...}/{id}",
        "{service}",
        "x/{service}/y/{id}",
        "{id}",
        "{service}/{id...}",
        "{service}/instances/{id}",
    ][byte(0) % 8];
    let value = ["json", "json", "json", "json", "json", "text", "none", "native"][byte(0) / 8 % 8];
    let mut table = format!("key = \"{key}\"\nvalue = \"{value}\"\n");
    let mut add = |yes: bool, line: String| {
        if yes {
            table.push_str(&line);
            table.push('\n');
        }
    };
    let field = |n: usize| FIELDS[n % 8];
    let json = value == "json";
    add(key == "{id}", "service = \"one\"".to_owned());
    add(
        byte(1) & 1 != 0 && key != "{id}",
        "policy = \"{service}/policy\"".to_owned(),
    );
    add(
        json && byte(1) & 2 != 0,
        format!("instances = \"{}\"", field(byte(1) / 4)),
    );
    add(
        json && byte(1) & 0x22 == 0x22,
        format!("id = \"{}\"", field(byte(1) / 64)),
    );
    add(json, format!("address = \"{}\"", field(byte(2))));
    add(
        json && byte(2) & 8 != 0,
        format!("port = \"{}\"", field(byte(2) / 16)),
    );
    add(
        json && byte(3) & 1 != 0,
        format!("weight = \"{}\"", field(byte(3) / 2)),
    );
    add(byte(3) & 16 != 0, format!("default_weight = {}", 1 + byte(3)));
    add(
        json && byte(3) & 32 != 0,
        format!("metadata = \"{}\"", field(byte(3) / 64)),
    );
    add(
        byte(4) & 1 != 0,
        "schemes = [\"grpc\", \"http=http1\"]".to_owned(),
    );
    add(
        json && byte(4) & 3 == 3,
        format!("scheme = \"{}\"", field(byte(4) / 4)),
    );
    add(byte(4) & 32 != 0, "protocol = \"tcp\"".to_owned());
    add(
        json && byte(4) & 64 != 0,
        format!("version = \"{}\"", field(byte(4))),
    );
    add(
        json && byte(5) & 1 != 0,
        format!("gone = [\"{}=1\"]", field(byte(5) / 2)),
    );
    add(
        json && byte(5) & 16 != 0,
        format!("off = [\"{}=false\"]\ndrain = [\"m.a=x\"]", field(byte(5) / 32)),
    );
    add(json && byte(5) & 0x11 == 0x11, "ignore = [\"*\"]".to_owned());
    let text = format!(
        "[sources.s]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:1\"]\nprefix = \"{PREFIX}\"\nformat = \"own\"\n\
         [formats.own]\n{table}"
    );
    // What the configuration refuses never reads a key.
    let config = load_str(Path::new("bridge.toml"), &text, None).ok()?;
    match config.sources.get("s") {
        Some(SourceConfig::Etcd(etcd)) => etcd.prefixes.first().map(|prefix| prefix.format.clone()),
        _ => None,
    }
}

fn event(change: &[u8], live: &BTreeMap<Vec<u8>, Kv>) -> Option<Event> {
    let [what, key, value @ ..] = change else {
        return None;
    };
    let (key, value) = match KEYS.get(usize::from(*key)) {
        Some(key) => (format!("{PREFIX}{key}").into_bytes(), value),
        None => {
            let mut parts = value.splitn(2, |byte| *byte == 0xfe);
            let key = [PREFIX.as_bytes(), parts.next().unwrap_or_default()].concat();
            (key, parts.next().unwrap_or_default())
        }
    };
    if what % 8 == 7 {
        return Some(Event::Delete { key, mod_revision: 9 });
    }
    let size = if what % 8 == 6 { MAX_VALUE + 1 } else { value.len() };
    Some(Event::Put(Kv {
        // Six of eight rewrite what is there.
        create_revision: match live.get(&key) {
            Some(kv) if what % 8 != 5 => kv.create_revision,
            Some(kv) => kv.create_revision + 1,
            None => 1,
        },
        key,
        value: value.to_vec(),
        size,
        mod_revision: 9,
    }))
}

fn hold(said: &Change, event: &Event) {
    let value = match event {
        Event::Put(kv) => kv.value.as_slice(),
        Event::Delete { .. } => &[],
    };
    for (name, record) in &said.services {
        if let Some(record) = record {
            super::served(name, record);
            // Of each key: its value's, and those of instances in it, each up to 17.
            super::told(&record.issues, 34 * (MAX_CHANGES + 1), &[value]);
        }
    }
    super::told(said.stray.as_deref().unwrap_or_default(), 101, &[value]);
}

fn take(records: &mut Records, said: &Change) {
    for (name, record) in &said.services {
        match record {
            Some(record) => drop(records.insert(name.clone(), record.clone())),
            None => drop(records.remove(name)),
        }
    }
}

/// Beside each key one that is wrong: nobody's instances change, and without it all is as before.
fn bad_neighbours(state: &mut State, live: &BTreeMap<Vec<u8>, Kv>, records: &Records) {
    for key in live.keys() {
        let bad = [&key[..key.len() - 1], b"zz"].concat();
        if live.contains_key(&bad) {
            continue;
        }
        let value = b"\xfe no value".to_vec();
        let size = value.len();
        let kv = Kv {
            key: bad.clone(),
            value,
            size,
            mod_revision: 9,
            create_revision: 9,
        };
        let put = state.apply([Event::Put(kv)]);
        for (name, record) in &put.services {
            let record = record.as_ref().unwrap_or_else(|| panic!("{name} is gone"));
            assert_eq!(
                super::sorted(Some(record)),
                super::sorted(records.get(name)),
                "a bad entry changes the good ones"
            );
        }
        let back = state.apply([Event::Delete {
            key: bad,
            mod_revision: 9,
        }]);
        for (name, record) in &back.services {
            assert_eq!(
                record.as_ref(),
                records.get(name),
                "a bad entry leaves something behind"
            );
        }
    }
}
