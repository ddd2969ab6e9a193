//! Random histories of a service: what always holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use xds_bridge::model::rollouts::WHOLE;
use xds_bridge::rollout::{
    Clients, Count, Decision, Facts, Instances, MAX_BYTES, Neighbours, OnNoData, Order, Person, Record, Row,
    Run, Settings, Stratum, Sum, decide, order,
};

/// Something that happens between two decisions.
#[derive(Clone, Debug)]
enum Step {
    Time(u64),
    Instances(usize, u32, u32),
    Data(Option<u32>),
    Requests(usize, usize, Stratum, [u64; 4]),
    Restart(usize),
    Silence,
    Neighbour(usize, u64, u64),
    Order(usize, usize),
    Dry(bool),
}

/// Ordinary names, and some that nobody should use.
fn names() -> Vec<Arc<str>> {
    let odd = "\"\\".repeat(64);
    let long = "v".repeat(129);
    ["a", "b", "c", "", &odd, &long, "line\nbreak", "🐌🐌"]
        .map(Into::into)
        .to_vec()
}

fn step() -> impl Strategy<Value = Step> {
    let stratum = prop::sample::select(Stratum::ALL.to_vec());
    prop_oneof![
        3 => (0_u64..90_000).prop_map(Step::Time),
        2 => (0_usize..8, 0_u32..4, 0_u32..3).prop_map(|(v, healthy, more)| Step::Instances(v, healthy, more)),
        1 => prop::option::of(10_u32..14).prop_map(Step::Data),
        6 => (0_usize..3, 0_usize..8, stratum, prop::array::uniform4(0_u64..400))
            .prop_map(|(run, version, kind, n)| Step::Requests(run, version, kind, n)),
        1 => (0_usize..3).prop_map(Step::Restart),
        1 => Just(Step::Silence),
        1 => (0_usize..4, 0_u64..500, 0_u64..50).prop_map(|(service, n, k)| Step::Neighbour(service, n, k)),
        1 => (0_usize..8, 0_usize..8).prop_map(|(what, version)| Step::Order(what, version)),
        1 => prop::bool::weighted(0.2).prop_map(Step::Dry),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let steps = prop::sample::select(vec![
        "10,25,50,100",
        "header,mirror:5,10,100",
        "100",
        "mirror:50,1,99.99,100",
    ]);
    let gates = prop::sample::select(vec!["", "100=person", "100=http://gate/ok"]);
    let no_data = prop::sample::select(vec!["hold", "alert", "promote_after(30s)"]);
    (steps, gates, no_data, 0_u64..90, 0_u64..60, any::<[bool; 3]>()).prop_map(
        |(steps, gates, no_data, time, grace, [auto, refuse, metric])| {
            let steps = Settings::parse_steps(steps).unwrap();
            Settings {
                auto: auto || refuse,
                gates: Settings::parse_gates(gates, &steps).unwrap(),
                steps,
                on_no_data: OnNoData::parse(no_data).unwrap(),
                step_time: Duration::from_secs(time),
                grace: Duration::from_secs(grace),
                min_sample: time * 4,
                refuse_one_way: refuse,
                metric: metric.then(|| "slow".into()),
                ..Settings::default()
            }
        },
    )
}

/// The versions of the world declare different data.
fn instances(version: usize, healthy: u32, total: u32, now: u64) -> Instances {
    let data = [None, Some(11), Some(12), None, Some(13), None, None, None];
    let reads = [
        None,
        Some(10..=12),
        Some(11..=13),
        None,
        None,
        None,
        Some(0..=1),
        None,
    ];
    Instances {
        healthy,
        total,
        first_seen: now,
        data: data[version],
        reads: reads[version].clone(),
        share: None,
    }
}

fn apply(facts: &mut Facts, step: &Step, restarts: &mut u64) {
    let names = names();
    match step {
        Step::Time(time) => {
            facts.now += time;
            facts.clients.last_report = Some(facts.now);
        }
        Step::Silence => facts.now += 60_000,
        Step::Instances(version, healthy, more) => {
            let name = names[*version].clone();
            let total = healthy + more;
            if total == 0 {
                facts.versions.remove(&name);
            } else {
                let seen = facts
                    .versions
                    .get(&name)
                    .map_or(facts.now, |known| known.first_seen);
                facts
                    .versions
                    .insert(name, instances(*version, *healthy, total, seen));
            }
        }
        Step::Data(data) => facts.data = *data,
        Step::Requests(run, version, kind, [ok, errors, hung, open]) => {
            let runs = facts.runs.len();
            if let Some(run) = facts.runs.values_mut().nth(run % runs.max(1)) {
                let count: &mut Count = run.counts.entry((names[*version].clone(), *kind)).or_default();
                count.ok += ok;
                count.errors += errors / 8;
                count.issued += ok + errors / 8 + hung / 20 + open;
                count.open = *open;
                count.measured += ok;
                count.bad += ok / 50;
            }
        }
        Step::Restart(run) => {
            *restarts += 1;
            if let Some(name) = facts.runs.keys().nth(*run).cloned() {
                facts.runs.remove(&name);
            }
            let since = facts.now;
            facts.runs.insert(
                format!("run-{restarts}").into(),
                Run {
                    since,
                    ..Run::default()
                },
            );
        }
        Step::Neighbour(service, n, k) => {
            let sum = facts
                .neighbours
                .services
                .entry(names[*service].clone())
                .or_default();
            *sum = Sum {
                n: sum.n + n,
                k: sum.k + k,
            };
        }
        Step::Order(..) | Step::Dry(_) => {}
    }
}

fn an_order(what: usize, version: usize) -> Order {
    let version = Some(names()[version].clone());
    match what {
        0 => Order::Start { version },
        1 => Order::Start { version: None },
        2 => Order::Pause,
        3 => Order::Resume,
        4 => Order::Promote { all: false },
        5 => Order::Promote { all: true },
        6 => Order::Abort,
        _ => Order::Retry { version },
    }
}

/// Who writes a lot, and nothing that a terminal should print.
fn somebody() -> Person {
    Person {
        who: "by\"".repeat(99),
        why: "\u{7}\"why\" ".repeat(100),
    }
}

/// What always holds of a decision.
fn check(decision: &Decision, settings: &Settings, facts: &Facts) -> Result<(), TestCaseError> {
    let record = &decision.record;
    let text = serde_json::to_string(record).unwrap();
    prop_assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
    let read: Record = serde_json::from_str(&text).unwrap();
    prop_assert_eq!(&read, record);
    let again = decide(record, settings, facts);
    prop_assert_eq!(&again.record, record, "the same facts change something");
    prop_assert_eq!(&again.events, &[], "the same facts say something");
    let Some(shares) = record.shares() else {
        return Ok(());
    };
    prop_assert_eq!(shares.weights.values().sum::<u32>(), WHOLE);
    if settings.dry_run {
        return Ok(());
    }
    let healthy = |version: &str| {
        facts
            .versions
            .get(version)
            .map_or(0, |instances| instances.healthy)
    };
    for (version, weight) in &shares.weights {
        if *version == shares.stable {
            continue;
        }
        let mirrored = shares.mirror.as_ref().is_some_and(|(to, _)| to == version);
        prop_assert!(!record.is_rejected(version, false), "{version:?} is rejected");
        if *weight > 0 || mirrored {
            prop_assert!(healthy(version) > 0, "{version:?} has no healthy instance");
            let stored = facts.data;
            let can_read = |version: &str| {
                let instances = facts.versions.get(version);
                stored.is_none_or(|stored| instances.is_none_or(|instances| instances.can_read(stored)))
            };
            // Where nobody can, somebody has to.
            let others = healthy(&shares.stable) > 0 && can_read(&shares.stable);
            prop_assert!(can_read(version) || !others, "{version:?} cannot read {stored:?}");
        }
    }
    let nobody = healthy(&shares.stable) == 0
        && shares
            .weights
            .get(&shares.stable)
            .is_some_and(|weight| *weight > 0);
    let others = shares
        .weights
        .iter()
        .any(|(version, weight)| *weight > 0 && *version != shares.stable);
    prop_assert!(
        !(nobody && others),
        "the stable version has none that is healthy, and the candidate not everything"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_always_holds(settings in settings(), steps in prop::collection::vec(step(), 1..120)) {
        let mut settings = settings;
        let mut record = Record::default();
        let mut restarts = 0;
        let mut facts = Facts {
            now: 1_000_000,
            versions: [("a".into(), instances(0, 2, 2, 0))].into(),
            runs: [("one".into(), Run::default()), ("two".into(), Run::default())].into(),
            clients: Clients { last_report: Some(1_000_000), interval: 1_000, ..Clients::default() },
            neighbours: Neighbours { run: "one".into(), ..Neighbours::default() },
            ..Facts::default()
        };
        for step in &steps {
            apply(&mut facts, step, &mut restarts);
            if let Step::Dry(dry) = step {
                settings.dry_run = *dry;
            }
            let decision = match step {
                Step::Order(what, version) => {
                    match order(&record, &settings, &facts, &an_order(*what, *version), &somebody()) {
                        Ok(decision) => decision,
                        Err(why) => {
                            prop_assert!(!why.is_empty());
                            continue;
                        }
                    }
                }
                _ => decide(&record, &settings, &facts),
            };
            check(&decision, &settings, &facts)?;
            record = decision.record;
        }
    }

    /// What is counted is the same, whatever replicas are called and in which order they are looked at.
    #[test]
    fn the_order_of_replicas_does_not_matter(
        counts in prop::collection::vec((0_u64..300, 0_u64..40, 0_u64..300, 0_u64..40), 4),
        looks in 1_u64..4,
    ) {
        let run = |names: [&str; 4]| {
            let mut facts = Facts {
                now: 1_000_000,
                versions: [("a".into(), instances(0, 2, 2, 0)), ("b".into(), instances(0, 1, 1, 5))].into(),
                clients: Clients { last_report: Some(1_000_000), interval: 1_000, ..Clients::default() },
                ..Facts::default()
            };
            facts.runs = names.map(|name| (name.into(), Run::default())).into();
            let settings = Settings::default();
            let mut record = decide(&Record::default(), &settings, &facts).record;
            for _ in 0..looks {
                for (name, (ok, bad, old, old_bad)) in names.iter().zip(&counts) {
                    let run = facts.runs.get_mut(*name).unwrap();
                    for (version, ok, errors) in [("b", ok, bad), ("a", old, old_bad)] {
                        let count: &mut Count = run.counts.entry((version.into(), Stratum::Envoy)).or_default();
                        count.ok += ok;
                        count.errors += errors;
                        count.issued += ok + errors;
                    }
                }
                facts.now += 1_000;
                facts.clients.last_report = Some(facts.now);
                record = decide(&record, &settings, &facts).record;
            }
            if let Some(rollout) = &mut record.rollout {
                rollout.seen = BTreeMap::new();
            }
            record
        };
        prop_assert_eq!(run(["1", "2", "3", "4"]), run(["d", "c", "b", "a"]));
    }
}

/// The longest names and texts, everywhere.
#[test]
fn a_full_record_fits() {
    let name = |n: u64| -> Arc<str> { format!("{n:03}{}", "\"".repeat(125)).into() };
    let settings = Settings {
        grace: Duration::ZERO,
        ..Settings::default()
    };
    let mut facts = Facts {
        now: 1_000_000,
        versions: [(name(0), instances(0, 2, 2, 0))].into(),
        clients: Clients {
            last_report: Some(1_000_000),
            interval: 1_000,
            ..Clients::default()
        },
        ..Facts::default()
    };
    facts.neighbours.services = (0..100).map(|n| (name(n), Sum { n: 1_000, k: 0 })).collect();
    let mut record = decide(&Record::default(), &settings, &facts).record;
    for n in 1..150 {
        facts.now += 1_000;
        facts.clients.last_report = Some(facts.now);
        // Those before have gone: what is rejected is forgotten beyond a bound.
        facts
            .versions
            .remove(&name(n - 1))
            .filter(|_| n == 1)
            .map(|first| facts.versions.insert(name(0), first));
        facts.versions.insert(name(n), instances(0, 1, 1, n));
        let zone = |at: u64| Row {
            version: name(n),
            zone: name(at),
            endpoint: name(at),
            ..Row::default()
        };
        facts.rows = (0..50).map(zone).collect();
        for at in 0..20 {
            let run = facts.runs.entry(name(at)).or_default();
            for kind in Stratum::ALL {
                let count: &mut Count = run.counts.entry((name(n), kind)).or_default();
                count.issued += u64::MAX / 1_000;
                count.ok += u64::MAX / 2_000;
            }
        }
        let decision = decide(&record, &settings, &facts);
        check(&decision, &settings, &facts).unwrap();
        let why = "\u{1f40c}\"".repeat(300);
        let abort = order(
            &decision.record,
            &settings,
            &facts,
            &Order::Abort,
            &Person {
                who: why.clone(),
                why,
            },
        );
        record = abort.map_or(decision.record, |decision| decision.record);
        let size = serde_json::to_string(&record).unwrap().len();
        assert!(size <= MAX_BYTES, "{n}: {size}");
    }
    assert!(record.rejected.len() > 10, "{}", record.rejected.len());
}

#[test]
fn a_later_bridge_may_add_fields() {
    let text = r#"{"version":1,"stable":"a","generation":7,"colour":"red","rollout":{"candidate":"b","step":"10","phase":{"is":"running","mood":1},"new":[]}}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    assert_eq!((record.stable.as_deref(), record.generation), (Some("a"), 7));
    assert_eq!(record.shares().unwrap().weights["b"], 1_000);
}
