//! How parts of the policy are written: what is read is shown the same way, and an error says what would be right.

use std::time::Duration;

use super::settings::{Gate, OnNoData, Pass, Settings, Step};

fn steps(text: &str) -> String {
    match Settings::parse_steps(text) {
        Ok(steps) => steps.iter().map(Step::to_string).collect::<Vec<_>>().join(","),
        Err(error) => error,
    }
}

#[test]
fn steps_are_shown_as_they_are_read() {
    for text in [
        "10,25,50,100",
        "100",
        "header,mirror:5,10,50,100",
        "header,100",
        "mirror:0.0001,mirror:5,0.01,99.99,100",
    ] {
        assert_eq!(steps(text), text);
    }
    assert_eq!(steps(" 10% , 25.50, 100.00%"), "10,25.5,100");
    assert_eq!(
        Settings::parse_steps("10,25,50,100"),
        Ok(Settings::default().steps)
    );
    assert_eq!(
        Settings::parse_steps("header,mirror:5%,100"),
        Ok(vec![Step::Header, Step::Mirror(50_000), Step::Share(10_000)])
    );
}

#[test]
fn steps_that_are_none_say_what_would_be_right() {
    for (text, part) in [
        (
            "",
            "`` is not a step: `header`, `mirror:5` or a percentage above 0 and up to 100",
        ),
        ("0,100", "`0` is not a step"),
        ("10,101", "`101` is not a step"),
        ("10,1e1,100", "`1e1` is not a step"),
        ("10,+20,100", "`+20` is not a step"),
        ("10.,100", "`10.` is not a step"),
        ("header%,100", "`header%` is not a step"),
        ("10%%,100", "`10%%` is not a step"),
        ("0.001,100", "`0.001` is not a step"),
        ("mirror:0,100", "`mirror:0` is not a step"),
        ("copy:5,100", "`copy:5` is not a step"),
        ("10,50", "has to end with 100, such as 10,25,50,100"),
        ("header", "has to end with 100"),
        (
            "50,10,100",
            "step 10 does not come after 50; write `header` first",
        ),
        ("10,10,100", "step 10 does not come after 10"),
        ("10,header,100", "step header does not come after 10"),
        (
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,100",
            "has 21 steps; at most 20",
        ),
    ] {
        assert!(steps(text).contains(part), "{text}: {}", steps(text));
    }
}

#[test]
fn gates_are_of_steps_that_are_there() {
    let all = Settings::default().steps;
    let gates =
        Settings::parse_gates("25=person, 50=http://gate.internal:8080/ok?a=b,50=person", &all).unwrap();
    let shown: Vec<String> = gates.iter().map(Gate::to_string).collect();
    assert_eq!(
        shown.join(","),
        "25=person,50=http://gate.internal:8080/ok?a=b,50=person"
    );
    assert_eq!(gates[0].pass, Pass::Person);
    assert_eq!(Settings::parse_gates(" ", &all), Ok(vec![]));
    for (text, part) in [
        (
            "person",
            "`person` is not a gate: STEP=person or STEP=http(s)://…, such as 50=person",
        ),
        ("25=somebody", "is not a gate"),
        ("25=ftp://a/", "is not a gate"),
        ("25=http:///x", "is not a gate"),
        ("25=http://a b", "is not a gate"),
        ("30=person", "there is no step 30; add it to the steps"),
        ("x=person", "`x` is not a step"),
    ] {
        let error = Settings::parse_gates(text, &all).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_other_parts_are_read_or_say_what_would_be_right() {
    for text in ["hold", "alert", "promote_after(600s)"] {
        assert_eq!(OnNoData::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(
        OnNoData::parse("promote_after(10m)"),
        Ok(OnNoData::PromoteAfter(Duration::from_secs(600)))
    );
    assert!(
        OnNoData::parse("promote")
            .unwrap_err()
            .contains("must be hold, alert, or promote_after(10m)")
    );
    assert!(
        OnNoData::parse("promote_after(x)")
            .unwrap_err()
            .contains("is not a duration")
    );
    for (text, margin) in [("1%", 0.01), ("0.5%", 0.005), ("50%", 0.5), ("0.01%", 0.0001)] {
        assert!(
            (Settings::parse_margin(text).unwrap() - margin).abs() < 1e-12,
            "{text}"
        );
    }
    for text in ["1", "", "%", "0%", "51%", "-1%", "0.001%", "1%%"] {
        assert!(
            Settings::parse_margin(text)
                .unwrap_err()
                .contains("is not a margin from 0.01% to 50%"),
            "{text}"
        );
    }
    assert_eq!(Settings::parse_reads("11..12"), Ok(11..=12));
    assert_eq!(Settings::parse_reads("12"), Ok(12..=12));
    for text in ["", "12..11", "a..b", "..", "+1..2", "1..=2", "99999999999"] {
        assert!(
            Settings::parse_reads(text)
                .unwrap_err()
                .contains("is not a range of data numbers"),
            "{text}"
        );
    }
}
