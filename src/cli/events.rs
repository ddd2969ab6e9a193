//! `events`: what changed, when, and by whose word.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::output::{encode, print, runtime};
use super::{Failure, client};
use crate::clock;
use crate::config::Config;
use crate::text::{parse_duration, show_duration};

pub(super) const EXAMPLES: &str = "\
Examples:
  xds-bridge events                          the newest, the oldest of them first
  xds-bridge events --since 10m --service orders
  xds-bridge events --since 14:00            since that time of today or yesterday (UTC)
  xds-bridge events --follow";

/// How long one request waits for something new.
const ONE: Duration = Duration::from_secs(20);
/// Between two tries while the bridge does not answer.
const PAUSE: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;

/// Which events.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Of this service alone
    #[arg(long)]
    service: Option<String>,
    /// Not older: a time such as 10m, or of the day (UTC) such as 14:00
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Duration>,
    /// Go on with what comes
    #[arg(long)]
    follow: bool,
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

/// How long ago that was.
fn since(text: &str) -> Result<Duration, String> {
    let Some((hour, minute)) = text.split_once(':') else {
        return parse_duration(text);
    };
    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|n| *n < most);
    let (Some(hour), Some(minute)) = (number(hour, 24), number(minute, 60)) else {
        return Err("a time of the day is written 14:00".to_owned());
    };
    let now = clock::unix_seconds() % DAY;
    let then = hour * 3_600 + minute * 60;
    Ok(Duration::from_secs((now + DAY - then) % DAY))
}

pub(super) fn events(config: &Config, args: &EventsArgs) -> Result<(), Failure> {
    let mut shared = Vec::new();
    shared.extend(
        args.service
            .as_ref()
            .map(|name| format!("service={}", encode(name))),
    );
    shared.extend(args.since.map(|age| format!("since={}s", age.as_secs())));
    runtime()?.block_on(async {
        let (mut after, mut start) = (None, None);
        loop {
            let mut query = shared.clone();
            query.extend(after.map(|after: u64| format!("after={after}")));
            query.extend(after.map(|_| format!("wait={}", show_duration(ONE))));
            let path = format!("/events?{}", query.join("&"));
            let answer = match client::request(Method::GET, &config.admin, &path, String::new()).await {
                Ok(body) => serde_json::from_slice::<Value>(&body)?,
                Err(error) if args.follow && after.is_some() && error.may_pass() => {
                    eprintln!("{error}; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // A bridge without `cache.folder` counts from one again: what it has noted since is new.
            if start.is_some_and(|start| answer["start"].as_u64() != Some(start)) && after != Some(0) {
                (after, start) = (Some(0), None);
                continue;
            }
            start = answer["start"].as_u64();
            if let Some(older) = answer["older"].as_u64().filter(|older| *older > 0) {
                eprintln!("{older} older ones are left out; --since or --service narrows");
            }
            for event in answer["events"].as_array().into_iter().flatten() {
                let line = if args.json { event.to_string() } else { line(event) };
                print(&format!("{line}\n"))?;
            }
            if !args.follow {
                return Ok(());
            }
            after = Some(answer["newest"].as_u64().unwrap_or_default());
        }
    })
}

fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let (service, instance) = (text("service"), text("instance"));
    let name = match (service.as_str(), instance.as_str()) {
        ("", _) => String::new(),
        (service, "") => format!("{service} "),
        (service, instance) => format!("{service}/{instance} "),
    };
    let source = match text("source") {
        source if source.is_empty() => String::new(),
        source => format!("{source}: "),
    };
    let at = event["at"].as_u64().unwrap_or_default();
    let acked = match (event["acked_at"].as_u64(), event["clients"].as_u64()) {
        (Some(acked), Some(clients)) => {
            let after = Duration::from_millis(acked.saturating_sub(at));
            let clients = match clients {
                1 => "its client".to_owned(),
                n => format!("the last of {n} clients"),
            };
            format!(", {clients} had it after {:.3} s", after.as_secs_f64())
        }
        _ => String::new(),
    };
    let generation = match event["generation"].as_u64() {
        Some(number) => format!(" [generation {number}{acked}]"),
        None => String::new(),
    };
    let time = stamp(at);
    format!("{time} {source}{name}{}{generation}", text("what"))
}

/// Unix milliseconds as `2026-11-28T14:03:07.250Z`.
fn stamp(millis: u64) -> String {
    let seconds = i64::try_from(millis / 1_000).unwrap_or(i64::MAX);
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            millis % 1_000
        ),
        Err(_) => millis.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = serde_json::json!({
            "at": 1_764_338_587_250_u64, "source": "consul", "service": "orders", "instance": "orders-7",
            "what": "is unhealthy (was healthy)", "generation": 12, "acked_at": 1_764_338_587_262_u64, "clients": 3,
        });
        assert_eq!(
            line(&event),
            "2025-11-28T14:03:07.250Z consul: orders/orders-7 is unhealthy (was healthy) \
             [generation 12, the last of 3 clients had it after 0.012 s]"
        );
    }

    #[test]
    fn times_are_ages_or_of_the_day() {
        assert_eq!(since("10m"), Ok(Duration::from_secs(600)));
        assert!(since("14:00").unwrap() < Duration::from_secs(DAY));
        assert!(since("24:00").is_err() && since("x:1").is_err() && since("soon").is_err());
    }
}
