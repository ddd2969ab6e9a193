//! The rows of the keys about versions: what an instance says of its own, and how a service shares its requests among
//! them. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::field::Field;
use super::row::{Row, Value};
use super::values::word;
use crate::model::cluster::{at_least, count};
use crate::model::policy::{InstanceKeys, Policy};
use crate::model::rollouts::{Mode, Share, VersionHeader, WHOLE};
use crate::model::route::criterion::is_token;
use crate::model::route::hash::HashKey;
use crate::text::clip;

/// The most steps of one rollout, and the most gates.
const MAX_STEPS: usize = 16;
/// The longest list of steps or gates, bytes.
const MAX_TEXT: usize = 1_024;
/// The longest name of a figure, bytes.
const MAX_METRIC: usize = 64;
/// What stands for a person in `rollout-gates`.
const PERSON: &str = "person";

pub(super) const SHARE: Row = Row {
    name: "share",
    numbered: false,
    since: "0.1",
    help: "of its version: this part of the service's requests, such as `10%`, while it has a healthy instance; the \
           versions that declare none get the rest; of instances that differ the smallest counts. What a rollout says \
           is stronger. `routes`: only the requests of routes with `version=` of it, whatever a rollout says",
    default: "none; versions share the requests by the weights of their instances",
    fallback: "declares no share",
    value: Value::Instance(&Field {
        get: |keys: &InstanceKeys| &keys.share,
        set: |keys| &mut keys.share,
        read: |text| share(text).map(Some),
        show: |share| match share {
            Share::Of(parts) => show_percent(*parts),
            Share::Routes => ROUTES.to_owned(),
        },
    }),
};

/// The `share` of what only routes lead to.
const ROUTES: &str = "routes";

fn share(text: &str) -> Result<Share, String> {
    if text == ROUTES {
        return Ok(Share::Routes);
    }
    let parts = percent(text).map_err(|why| format!("{why}, or `{ROUTES}`"))?;
    Ok(Share::Of(parts))
}

pub(super) const DATA: Row = Row {
    name: "data",
    numbered: false,
    since: "0.1",
    help: "the version of the stored data that it writes: a whole number that grows with each migration",
    default: "none",
    fallback: "does not say what it writes",
    value: Value::Instance(&Field {
        get: |keys: &InstanceKeys| &keys.data,
        set: |keys| &mut keys.data,
        read: |text| number(text).map(Some),
        show: ToString::to_string,
    }),
};

pub(super) const DATA_READS: Row = Row {
    name: "data-reads",
    numbered: false,
    since: "0.1",
    help: "the versions of the stored data that it reads: `11..12`, or `12`",
    default: "what it writes",
    fallback: "does not say what it reads",
    value: Value::Instance(&Field {
        get: |keys: &InstanceKeys| &keys.data_reads,
        set: |keys| &mut keys.data_reads,
        read: |text| numbers(text).map(Some),
        show: |(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}..{last}")
            }
        },
    }),
};

pub(super) const ROLLOUT: Row = Row {
    name: "rollout",
    numbered: false,
    since: "0.1",
    help: "`auto`: a new version gets a small share first, and more while its error rates are good; `off`: its instances \
           get requests as soon as they are there",
    default: "`off`",
    fallback: "declares no rollout",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.mode,
        set: |policy| &mut policy.rollout.mode,
        read: |text| word(text, Mode::parse, Mode::WORDS),
        show: |mode| mode.as_str().to_owned(),
    }),
};

pub(super) const STEPS: Row = Row {
    name: "rollout-steps",
    numbered: false,
    since: "0.1",
    help: "the shares of a new version, one after the other: `10,25,50,100`; before them `header` (only requests that ask \
           for it) and `mirror:10%` (copies of requests)",
    default: "`10,25,50,100`",
    fallback: "has the default steps",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.steps,
        set: |policy| &mut policy.rollout.steps,
        read: |text| steps(text).map(Some),
        show: ToString::to_string,
    }),
};

pub(super) const STEP_TIME: Row = Row {
    name: "rollout-step-time",
    numbered: false,
    since: "0.1",
    help: "how long a step takes at least",
    default: "`60s`",
    fallback: "has steps of the default time",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.step_time,
        set: |policy| &mut policy.rollout.step_time,
        read: |text| at_least("", text, Duration::from_secs(1)).map(|_| Some(text.into())),
        show: ToString::to_string,
    }),
};

pub(super) const MIN_REQUESTS: Row = Row {
    name: "rollout-min-requests",
    numbered: false,
    since: "0.1",
    help: "how many requests of a step are judged at least before the next one",
    default: "`300`",
    fallback: "is judged by the default number of requests",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.min_requests,
        set: |policy| &mut policy.rollout.min_requests,
        read: |text| count("", text, 1..=10_000_000).map(|_| Some(text.into())),
        show: ToString::to_string,
    }),
};

pub(super) const MARGIN: Row = Row {
    name: "rollout-margin",
    numbered: false,
    since: "0.1",
    help: "how much larger the error rate of a new version may be for the next step",
    default: "`1%`",
    fallback: "has the default margin",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.margin,
        set: |policy| &mut policy.rollout.margin,
        read: |text| percent(text).map(|_| Some(text.into())),
        show: ToString::to_string,
    }),
};

pub(super) const DEADLINE: Row = Row {
    name: "rollout-deadline",
    numbered: false,
    since: "0.1",
    help: "when a rollout must be through; `0s`: it may take any time",
    default: "`24h`",
    fallback: "has the default deadline",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.deadline,
        set: |policy| &mut policy.rollout.deadline,
        read: |text| at_least("", text, Duration::ZERO).map(|_| Some(text.into())),
        show: ToString::to_string,
    }),
};

pub(super) const NO_DATA: Row = Row {
    name: "rollout-no-data",
    numbered: false,
    since: "0.1",
    help: "what happens when too few requests come to judge a step: `hold`, `promote_after` (by time alone), `alert`",
    default: "`hold`",
    fallback: "holds when there is too little to judge by",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.no_data,
        set: |policy| &mut policy.rollout.no_data,
        read: |text| {
            let known = |text: &str| -> Option<Arc<str>> {
                matches!(text, "hold" | "promote_after" | "alert").then(|| text.into())
            };
            word(text, known, "hold, promote_after or alert")
        },
        show: ToString::to_string,
    }),
};

pub(super) const GATES: Row = Row {
    name: "rollout-gates",
    numbered: false,
    since: "0.1",
    help: "what has to agree before the last step: addresses that must answer 200, and `person`, separated by commas",
    default: "none",
    fallback: "has rollouts that only a person can end",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.gates,
        set: |policy| &mut policy.rollout.gates,
        read: |text| gates(text).map(Some),
        show: ToString::to_string,
    }),
};

pub(super) const METRIC: Row = Row {
    name: "rollout-metric",
    numbered: false,
    since: "0.1",
    help: "a figure that its servers give of each request (ORCA, `named_metrics`): 1 for a bad one and 0 for a good one; \
           versions are judged by it, too",
    default: "none",
    fallback: "is judged by errors alone",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.metric,
        set: |policy| &mut policy.rollout.metric,
        read: |text| metric(text).map(Some),
        show: ToString::to_string,
    }),
};

pub(super) const VERSION_HEADER: Row = Row {
    name: "version-header",
    numbered: false,
    since: "0.1",
    help: "the header by which a request asks for a version, where requests are shared out among versions: `x-version: \
           9f31c2a`; `off`: none",
    default: "`x-version`",
    fallback: "has the default header",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.header,
        set: |policy| &mut policy.rollout.header,
        read: |text| header(text).map(Some),
        show: VersionHeader::show,
    }),
};

pub(super) const STICKY: Row = Row {
    name: "sticky",
    numbered: false,
    since: "0.1",
    help: "what the version of a request is chosen by, so that a user stays with one while its share grows: \
           `header:x-user`, `cookie:user`, `cookie:user:1h` (set where it is missing)",
    default: "none: each request by itself",
    fallback: "has versions that are chosen for each request",
    value: Value::Service(&Field {
        get: |policy: &Policy| &policy.rollout.sticky,
        set: |policy| &mut policy.rollout.sticky,
        read: |text| sticky(text).map(Some),
        show: |key| HashKey::show_all(std::slice::from_ref(key)),
    }),
};

/// A name that clients can report by.
fn metric(text: &str) -> Result<Arc<str>, String> {
    let may = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > MAX_METRIC || !text.bytes().all(may) {
        return Err(format!(
            "`{}` must be a name such as `bad`: up to {MAX_METRIC} letters, digits and `-`, `_`, `.`",
            clip(text)
        ));
    }
    Ok(text.strip_prefix("named_metrics.").unwrap_or(text).into())
}

/// `10%`, `0.5%`: in parts of [`WHOLE`].
fn percent(text: &str) -> Result<u32, String> {
    let bad = || {
        format!(
            "`{}` must be a percentage from 0% to 100%, such as 10% or 0.5%",
            clip(text)
        )
    };
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str, most: usize| text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole, 3) || !digits(rest, 2) || number.ends_with('.') {
        return Err(bad());
    }
    let parts = format!("{whole}{rest:0<2}").parse().map_err(|_| bad())?;
    if parts <= WHOLE { Ok(parts) } else { Err(bad()) }
}

fn show_percent(parts: u32) -> String {
    let text = format!("{}.{:02}", parts / 100, parts % 100);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn number(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("`{}` must be a whole number, such as 12", clip(text)))
}

fn numbers(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let both = number(first.trim()).and_then(|first| Ok((first, number(last.trim())?)));
    let both = both.ok().filter(|(first, last)| first <= last);
    both.ok_or_else(|| {
        format!(
            "`{}` must be one whole number, or the first and the last: 11..12",
            clip(text)
        )
    })
}

fn steps(text: &str) -> Result<Arc<str>, String> {
    let is_step = |step: &str| match step {
        "header" | "mirror" => true,
        step => {
            let share = step.strip_prefix("mirror:").unwrap_or(step);
            let share = share.strip_suffix('%').unwrap_or(share);
            percent(&format!("{share}%")).is_ok_and(|parts| parts > 0)
        }
    };
    let all: Vec<&str> = text.split(',').map(str::trim).collect();
    if all.len() > MAX_STEPS || !all.iter().all(|step| is_step(step)) {
        return Err(format!(
            "`{}` must be up to {MAX_STEPS} shares separated by commas, such as header,mirror:10%,10,25,50,100",
            clip(text)
        ));
    }
    Ok(all.join(",").into())
}

fn gates(text: &str) -> Result<Arc<str>, String> {
    let is_gate = |gate: &str| {
        let is_address = gate.starts_with("http://") || gate.starts_with("https://");
        gate == PERSON || (is_address && gate.bytes().all(|b| b.is_ascii_graphic()))
    };
    let all: Vec<&str> = text.split(',').map(str::trim).collect();
    if text.len() > MAX_TEXT || all.len() > MAX_STEPS || !all.iter().all(|gate| is_gate(gate)) {
        return Err(format!(
            "`{}` must be up to {MAX_STEPS} addresses (http://…, https://…) and `{PERSON}`, separated by commas",
            clip(text)
        ));
    }
    Ok(all.join(",").into())
}

fn header(text: &str) -> Result<VersionHeader, String> {
    match text {
        "off" => Ok(VersionHeader::Off),
        name if is_token(name) => Ok(VersionHeader::Name(name.to_ascii_lowercase().into())),
        _ => Err(format!("`{}` must be the name of a header, or off", clip(text))),
    }
}

fn sticky(text: &str) -> Result<HashKey, String> {
    let bad = || {
        format!(
            "`{}` must be header:NAME, cookie:NAME or cookie:NAME:1h (which is set where it is missing)",
            clip(text)
        )
    };
    let keys = HashKey::parse_all(text).map_err(|_| bad())?;
    match <[HashKey; 1]>::try_from(keys) {
        Ok([key @ (HashKey::Header(_) | HashKey::Cookie(..))]) => Ok(key),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_they_are_shown() {
        for (text, parts) in [
            ("10%", 1_000),
            ("0.5%", 50),
            ("100%", 10_000),
            ("0%", 0),
            ("33.33%", 3_333),
        ] {
            assert_eq!(percent(text), Ok(parts));
            assert_eq!(show_percent(parts), text);
        }
        for text in [
            "10", "101%", "-1%", "1.234%", "%", ".5%", "5.%", "1e1%", "100.01%", "x%",
        ] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_data_is_read_is_one_number_or_a_range() {
        assert_eq!(numbers("11..12"), Ok((11, 12)));
        assert_eq!(numbers("12"), Ok((12, 12)));
        for text in ["12..11", "..", "a..b", "1..", "", "1...2", "-1..2"] {
            assert!(numbers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_steps_and_gates_have_their_form() {
        assert_eq!(
            steps("header, mirror:10% ,1%,10,100").as_deref(),
            Ok("header,mirror:10%,1%,10,100")
        );
        for text in ["", "10,,20", "0", "101", "ten", "mirror:", "header:10"] {
            assert!(steps(text).is_err(), "{text}");
        }
        assert!(steps(&vec!["1"; MAX_STEPS + 1].join(",")).is_err());
        assert_eq!(
            gates("person,https://ci/ok").as_deref(),
            Ok("person,https://ci/ok")
        );
        assert!(gates("somebody").is_err() && gates("").is_err() && gates("http://a b").is_err());
    }

    #[test]
    fn versions_are_chosen_by_one_header_or_cookie() {
        assert_eq!(sticky("header:X-User"), Ok(HashKey::Header("x-user".to_owned())));
        assert!(sticky("cookie:user:1h").is_ok());
        for text in ["ip", "query:user", "header:a,header:b", "", "header:"] {
            assert!(sticky(text).is_err(), "{text}");
        }
        assert_eq!(header("X-Commit"), Ok(VersionHeader::Name("x-commit".into())));
        assert_eq!(header("off"), Ok(VersionHeader::Off));
        assert!(header("x version").is_err() && header("").is_err());
    }
}
