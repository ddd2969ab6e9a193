//! Requests with very many names.

use super::*;
use crate::clock;
use crate::xds::{DeltaRequest, Kind, Limits, Node, Stream, Update, Variant};

fn request(names: usize) -> Request {
    Request::Delta(DeltaRequest {
        node: Some(Node::default()),
        type_url: Kind::Endpoints.type_url().to_owned(),
        subscribe: (0..names).map(|n| format!("name-{n}")).collect(),
        ..DeltaRequest::default()
    })
}

fn open(limit: usize) -> (Arc<Fanout>, Registration) {
    let fanout = Arc::new(Fanout::new(10, false));
    fanout.publish(&[] as &[Update], clock::now());
    let limits = Limits {
        names: limit,
        ..Limits::default()
    };
    let stream = Stream::new(Variant::Delta, None, limits);
    let registration = fanout.register(stream).unwrap();
    (fanout, registration)
}

#[test]
fn names_of_a_large_request_are_counted_once_it_is_handled_and_go_with_the_stream() {
    let (fanout, registration) = open(200_000);
    assert!(Fanout::has_many_names(&request(MANY + 1)) && !Fanout::has_many_names(&request(MANY)));
    let mut ready = fanout.make_ready(&registration, request(MANY + 1));
    assert_eq!(fanout.names(), MANY + 1);
    let mut subscribed = Vec::new();
    while let Some(handled) = fanout.handle_part(&registration, &mut ready) {
        subscribed.push(handled.unwrap().subscribed.len());
    }
    assert_eq!(subscribed.iter().sum::<u64>(), MANY as u64 + 1);
    assert!(
        subscribed.iter().all(|names| *names <= AT_ONCE as u64),
        "others have their turn in between"
    );
    drop(ready);
    assert_eq!(fanout.names(), MANY + 1, "the stream has them");
    assert!(Fanout::leaves_much(&registration));
    fanout.unregister(&registration);
    assert_eq!(fanout.names(), 0);
}

#[test]
fn a_large_request_that_is_refused_or_given_up_leaves_nothing() {
    let (fanout, registration) = open(MANY);
    let mut ready = fanout.make_ready(&registration, request(MANY + 1));
    let mut parts = std::iter::from_fn(|| fanout.handle_part(&registration, &mut ready));
    let refused = parts.find_map(Result::err);
    assert_eq!(refused, Some(Refusal::TooManyNames { limit: MANY }));
    drop(ready);
    // What was handled before goes with the stream, which ends by that.
    fanout.unregister(&registration);
    assert_eq!(fanout.names(), 0);
    let (fanout, registration) = open(MANY);
    drop(fanout.make_ready(&registration, request(MANY + 1)));
    assert_eq!(fanout.names(), 0);
    assert!(!Fanout::leaves_much(&registration));
}
