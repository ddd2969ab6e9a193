//! What receivers get, written out.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::rollout::{
    Affected, ErrorLine, Hold, Load, Past, Rollout, Sample, Signal, SignalVerdict, Step, Stratum,
    StratumVerdict, Sum, Verdict, Why,
};

const AT: u64 = 1_700_000_000_000;

fn event(what: Happened, text: &str) -> Event {
    Event {
        at: AT,
        version: "9f31c2a".into(),
        dry_run: false,
        what,
        text: text.to_owned(),
    }
}

fn taken_back() -> Event {
    let why = Why::Worse {
        signal: Signal::Errors,
    };
    event(
        Happened::TakenBack { why },
        "9f31c2a is taken back: it fails more often than 71bc09e",
    )
}

fn report() -> Report {
    let of = StratumVerdict {
        candidate: Sum { n: 240, k: 12 },
        stable: Sum { n: 2_200, k: 1 },
    };
    let errors = SignalVerdict {
        signal: Signal::Errors,
        e: 34_012.7,
        threshold: 100.0,
        strata: BTreeMap::from([(Stratum::Envoy, of)]),
        beyond_margin: Some(0.99),
    };
    let load = Load {
        at: AT,
        candidate: Sample {
            issued: 240,
            rate: 24.0,
            per_instance: 24.0,
            instances: 1,
            open: 0,
        },
        stable: Sample {
            issued: 2_200,
            rate: 216.0,
            per_instance: 24.0,
            instances: 9,
            open: 2,
        },
    };
    let other = Affected {
        service: "cart".into(),
        at: AT,
        step: Some(Step::Share(1_000)),
        before: Sum { n: 500, k: 0 },
        after: Sum { n: 480, k: 41 },
    };
    let line = ErrorLine {
        version: "9f31c2a".into(),
        method: "shop.Orders/Get".to_owned(),
        status: "UNAVAILABLE".to_owned(),
        message: "no such table: `orders_v2` <!channel>".to_owned(),
        flags: String::new(),
        upstream: "10.0.0.7:8080".to_owned(),
        count: 11,
        first: AT - 8_000,
        last: AT - 1_000,
    };
    let reset = ErrorLine {
        method: "GET /orders/*".to_owned(),
        status: "no response".to_owned(),
        message: String::new(),
        flags: "UC".to_owned(),
        count: 1,
        ..line.clone()
    };
    Report {
        service: "orders".into(),
        phase: "taken back",
        action: "71bc09e has everything".to_owned(),
        started: AT - 60_000,
        verdict: Verdict {
            at: AT,
            candidate: "9f31c2a".into(),
            stable: "71bc09e".into(),
            step: Some(Step::Share(1_000)),
            text: "worse".to_owned(),
            alarm: Some(Signal::Errors),
            signals: vec![errors],
            load,
            affected: vec![other],
            way_back: true,
            ..Verdict::default()
        },
        errors: vec![line, reset],
        ..Report::default()
    }
}

fn text(event: &Event, report: Option<&Report>, wanted: &Expect) {
    wanted.assert_eq(&Notice::new(&"orders".into(), event, report).text);
}

#[test]
fn a_chat_reads_what_happened_why_and_what_to_do() {
    text(
        &taken_back(),
        Some(&report()),
        &expect![[r#"
            🔴 `orders`: 9f31c2a is taken back: it fails more often than 71bc09e
            `9f31c2a` at 10 %, beside `71bc09e`
            errors: 12 of 240 (5 %) against 1 of 2200 (0.05 %); evidence 3.401e4 of 100
            load: 24.0 requests/s on 1 instance (24.0 each) against 216.0 on 9 instances (24.0 each)
            • 11× `shop.Orders/Get` UNAVAILABLE `no such table: 'orders_v2' <!channel>` by `9f31c2a` at 10.0.0.7:8080
            • 1× `GET /orders/*` no response (UC) by `9f31c2a` at 10.0.0.7:8080
            `cart` fails since: 41 of 480 (8.54 %), before 0 of 500 (0 %)
            next: `xds-bridge rollout show orders`; once it is fixed deploy another version, or `xds-bridge rollout retry orders`"#]],
    );
    text(
        &event(
            Happened::Started {
                stable: "71bc09e".into(),
            },
            "9f31c2a starts with 10 %",
        ),
        None,
        &expect!["🟢 `orders`: 9f31c2a starts with 10 %"],
    );
    let step = Step::Share(2_500);
    text(
        &event(Happened::Gate { step }, "9f31c2a waits for a person before 25 %"),
        None,
        &expect![[r#"
            🟢 `orders`: 9f31c2a waits for a person before 25 %
            next: `xds-bridge rollout promote orders` when it may go on"#]],
    );
    let rehearsed = Event {
        dry_run: true,
        ..event(
            Happened::Held {
                hold: Hold::NoReports,
            },
            "clients have\nnot reported",
        )
    };
    text(
        &rehearsed,
        None,
        &expect![[r#"
            🟡 `orders`: clients have�not reported (dry run: nothing is done)
            next: `xds-bridge rollout show orders`"#]],
    );
}

#[test]
fn a_program_reads_the_event_and_the_report() {
    let notice = Notice::new(&"orders".into(), &taken_back(), Some(&report()));
    let of = |pointer: &str| notice.document.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(of("/event/event"), "taken_back");
    assert_eq!(of("/event/why/signal"), "errors");
    assert_eq!(of("/severity"), "alert");
    assert_eq!(of("/report/verdict/candidate"), "9f31c2a");
    assert_eq!(of("/report/errors/0/count"), 11);
    assert_eq!(of("/id"), notice.id);
    let names = notice.document.as_object().unwrap().keys();
    let names: Vec<&str> = names.map(String::as_str).collect();
    assert_eq!(names, ["event", "id", "report", "service", "severity", "version"]);
}

#[test]
fn the_words_of_events_are_those_that_can_be_configured() {
    let notice = Notice::new(&"orders".into(), &taken_back(), None);
    assert!(crate::config::WEBHOOK_EVENTS.contains(&notice.word));
    assert_eq!(notice.document.pointer("/event/event").unwrap(), notice.word);
}

#[test]
fn the_next_leader_sends_the_end_of_a_rollout_with_the_same_id() {
    let sent = Notice::new(&"orders".into(), &taken_back(), Some(&report()));
    let why = Why::Worse {
        signal: Signal::Errors,
    };
    let rollout = Rollout {
        candidate: "9f31c2a".into(),
        phase: Phase::TakenBack {
            at: AT,
            why: why.clone(),
        },
        ..Rollout::default()
    };
    let past = Past {
        candidate: "9f31c2a".into(),
        stable: "71bc09e".into(),
        started: 1,
        ended: AT,
        step: None,
        outcome: crate::rollout::Outcome::TakenBack { why },
        text: "it failed".to_owned(),
        dry_run: false,
        orders: Vec::new(),
    };
    let record = Record {
        rollout: Some(Box::new(rollout)),
        history: vec![past],
        ..Record::default()
    };
    let again = ended(&record, AT).unwrap();
    assert_eq!(again.text, "it failed");
    assert_eq!(Notice::new(&"orders".into(), &again, None).id, sent.id);
    assert_eq!(ended(&record, AT + 1), None, "too long ago");
    let other = Notice::new(&"cart".into(), &again, None);
    assert_ne!(other.id, sent.id);
}
