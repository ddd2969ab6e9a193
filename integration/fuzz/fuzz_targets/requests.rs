//! Requests as bytes: whatever decodes is fed to a stream, between publications. It must
//! not panic, must fall silent, and must give back each name when the stream ends.
//!
//! Input: a byte of choices, then messages, each with one byte of length before it.
#![no_main]

use std::time::Duration;

use prost::Message as _;
use xds_bridge::xds::{
    DeltaRequest, Draft, Generation, Kind, Limits, Names, Node, Reach, SotwRequest, Stream, Update, Variant,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choices, mut input)) = input.split_first() else { return };
    let limits = Limits {
        names: 8,
        response_bytes: 300,
        ..Limits::default()
    };
    let variant = if choices & 1 == 0 { Variant::Delta } else { Variant::Sotw };
    let only = (choices & 2 != 0).then_some(Kind::ALL[usize::from(choices >> 2) % 4]);
    let mut stream = Stream::new(variant, only, limits);
    let mut names = Names::default();
    let mut generation = Generation::default();
    let mut now = Duration::ZERO;
    let mut content = 0_u64;
    while let Some((length, rest)) = input.split_first() {
        let (message, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        content += 1;
        let update = |kind: Kind| {
            let name = NAMES[usize::from(*length) % 3];
            if content % 5 == 4 {
                return Update::Remove(kind, name.into());
            }
            Update::Put(Draft {
                kind,
                name: name.into(),
                body: content.to_le_bytes().to_vec(),
                needs: vec!["a".into(), name.into()],
                reach: Reach::All,
                local: None,
            })
        };
        let (next, changed) = generation.next(&mut names, &[update(Kind::ALL[usize::from(*length) % 4])]);
        generation = next;
        stream.handle_changes(&changed);
        now += Duration::from_secs(u64::from(*length % 7));
        let node = Some(Node::default());
        let heard = match variant {
            Variant::Delta => {
                let Ok(mut request) = DeltaRequest::decode(message) else { continue };
                request.node = request.node.or(node);
                short(&mut request.type_url);
                stream.handle_request(request, &mut names, &generation)
            }
            Variant::Sotw => {
                let Ok(mut request) = SotwRequest::decode(message) else { continue };
                request.node = request.node.or(node);
                short(&mut request.type_url);
                stream.handle_request(request, &mut names, &generation)
            }
        };
        if heard.is_err() {
            break;
        }
        let mut said = 0;
        while let Some(response) = stream.poll_response(&generation, &names, now) {
            said += 1;
            assert!(said < 200, "does not fall silent");
            let length: usize = response.frames().map(|f| f.len()).sum();
            let head = response.head();
            let stated = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            assert_eq!(stated, head.len() - 5 + length);
        }
        assert!(stream.poll_timeout().is_none_or(|at| at > now));
    }
    stream.close(&mut names);
    assert!(names.len() <= NAMES.len(), "names are kept");
});

/// Type URLs are long: a fuzzer finds the short names sooner.
fn short(url: &mut String) {
    if let Some(kind) = Kind::ALL.into_iter().find(|k| k.short() == url) {
        kind.type_url().clone_into(url);
    }
}
