//! Entries as Envoy encodes them, and as nobody should.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use prost::Message as _;

use super::*;

fn entry(code: Option<u32>, trailers: &[(&str, &str)]) -> HttpAccessLogEntry {
    let socket = core::SocketAddress {
        address: "10.0.0.7".into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(8080)),
        ..core::SocketAddress::default()
    };
    let pairs = trailers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            upstream_cluster: "orders@b".into(),
            upstream_remote_address: Some(core::Address {
                address: Some(core::address::Address::SocketAddress(socket)),
            }),
            duration: Some(envoy_types::pb::google::protobuf::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
            ..AccessLogCommon::default()
        }),
        request: Some(HttpRequestProperties {
            request_method: core::RequestMethod::Post as i32,
            path: "/shop.Orders/Get".into(),
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: code.map(|value| envoy_types::pb::google::protobuf::UInt32Value { value }),
            response_trailers: pairs.collect(),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    }
}

fn flagged(code: Option<u32>, flags: ResponseFlags) -> HttpAccessLogEntry {
    let mut entry = entry(code, &[]);
    if let Some(common) = &mut entry.common_properties {
        common.response_flags = Some(flags);
    }
    entry
}

fn message(entries: Vec<HttpAccessLogEntry>) -> Vec<u8> {
    let node = core::Node {
        id: "edge-1".into(),
        extensions: vec![core::Extension::default(); 450],
        ..core::Node::default()
    };
    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(node),
            log_name: "errors".into(),
        }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: entries })),
    };
    message.encode_to_vec()
}

#[test]
fn an_entry_says_what_failed_where_and_how() {
    let call = entry(Some(200), &[("grpc-status", "14"), ("grpc-message", "away")]);
    let bytes = message(vec![call]);
    let read = Message::read(&bytes).unwrap();
    let wanted = Entry {
        cluster: "orders@b",
        upstream: "10.0.0.7:8080".parse().ok(),
        verb: "POST",
        path: "/shop.Orders/Get",
        status: Status::Grpc(14),
        flags: Flags::default(),
        message: "away",
        took: Duration::from_millis(1_500),
    };
    assert_eq!(read.errors, [wanted]);
    assert!(read.node.is_some_and(|node| node.len() > 900), "450 extensions");
    assert!((read.others, read.unreadable, read.is_cut) == (0, 0, false));
}

#[test]
fn an_answer_without_a_body_has_its_status_in_the_headers() {
    let mut call = entry(Some(200), &[]);
    let headers = [("grpc-status", "13"), ("grpc-message", "")];
    if let Some(response) = &mut call.response {
        response.response_headers = headers.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    }
    let bytes = message(vec![call]);
    assert_eq!(Message::read(&bytes).unwrap().errors[0].status, Status::Grpc(13));
}

#[test]
fn what_is_no_error_is_passed_over() {
    let gone = ResponseFlags {
        downstream_connection_termination: true,
        downstream_remote_reset: true,
        ..ResponseFlags::default()
    };
    let bytes = message(vec![
        entry(Some(200), &[]),
        entry(Some(404), &[]),
        entry(Some(200), &[("grpc-status", "5")]),
        entry(Some(200), &[("grpc-status", "0")]),
        entry(None, &[]),
        flagged(None, gone),
        entry(Some(200), &[("grpc-status", "nonsense")]),
    ]);
    let read = Message::read(&bytes).unwrap();
    assert_eq!((read.others, read.errors), (7, Vec::new()));
}

#[test]
fn what_envoy_noticed_is_an_error_without_a_status() {
    let refused = ResponseFlags {
        upstream_connection_failure: true,
        ..ResponseFlags::default()
    };
    let mut entry = flagged(None, refused);
    if let Some(common) = &mut entry.common_properties {
        common.upstream_transport_failure_reason = "Connection refused".into();
    }
    let bytes = message(vec![entry]);
    let read = Message::read(&bytes).unwrap();
    let found = &read.errors[0];
    let shown = (found.status, found.flags.to_string(), found.message);
    assert_eq!(shown, (Status::None, "UF".to_owned(), "Connection refused"));
}

#[test]
fn a_wrong_entry_costs_itself_only() {
    let good = entry(Some(500), &[]);
    let nameless = HttpAccessLogEntry {
        common_properties: None,
        ..good.clone()
    };
    let mut bytes = message(vec![good.clone(), nameless, good]);
    // A further entry whose common properties end in the middle.
    bytes.extend([0x12, 6, 0x0a, 4, 0x0a, 2, 0x0a, 9]);
    let read = Message::read(&bytes).unwrap();
    assert_eq!((read.errors.len(), read.unreadable), (2, 2));
    assert_eq!(Message::read(&[0x0a, 0xff]).unwrap_err(), Unreadable);
    assert!(Message::read(&[]).unwrap().errors.is_empty());
}

#[test]
fn texts_that_are_no_utf_8_end_where_that_begins() {
    assert_eq!(lenient(b"/a\xff/b"), "/a");
    assert_eq!(lenient("ä".as_bytes()), "ä");
    assert_eq!(lenient(b"\xff"), "");
}

#[test]
fn more_entries_than_are_read_are_noticed() {
    let one = entry(Some(500), &[]);
    let bytes = message(vec![one; MOST_ENTRIES + 1]);
    let read = Message::read(&bytes).unwrap();
    assert!(read.is_cut && read.errors.len() == MOST_ENTRIES);
}
