//! How soon a bad version is taken back: requests that it gets until then, at 10 %.

use std::time::Duration;

use xds_bridge::rollout::{Hold, Phase, Settings, Signal, Why};

use super::world::{Behaviour, NEW, OLD, SECOND, World, errors, instances};

/// A single step of a day.
fn at_ten_percent() -> Settings {
    Settings {
        step_time: Duration::from_secs(86_400),
        deadline: Duration::ZERO,
        ..Settings::default()
    }
}

/// Requests of the candidate until it is taken back: the median and the 95th percentile.
fn requests(old: Behaviour, new: Behaviour, per_look: f64, histories: u64) -> (u64, u64) {
    let mut all: Vec<u64> = (0..histories)
        .map(|seed| {
            let mut world = World::new(seed, at_ten_percent()).deploy();
            // So that the candidate gets this number at each look.
            world.rate = 100.0;
            let time = Duration::from_secs_f64(per_look / 10.0);
            for _ in 0..4_000 {
                world.pass(time, old, new);
                if world.is_taken_back() {
                    return world.tried;
                }
            }
            u64::MAX
        })
        .collect();
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

#[test]
fn a_bad_version_is_found_after_a_few_requests() {
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    // The stable version's errors, the candidate's, and what was found in shared/docs: median, 95th percentile.
    for (old, new, median, most) in [
        (0.001, 0.01, 549, 1_292),
        (0.001, 0.02, 219, 540),
        (0.001, 0.05, 64, 177),
        (0.001, 0.2, 21, 42),
        (0.001, 0.5, 8, 16),
        (0.001, 1.0, 5, 8),
        (0.01, 0.02, 1_600, 3_700),
        (0.01, 0.05, 190, 425),
        (0.01, 0.2, 22, 54),
        (0.01, 0.5, 9, 18),
        (0.01, 1.0, 5, 9),
    ] {
        let per_look = (f64::from(median) / 40.0).max(1.0);
        let (found, late) = requests(errors(old), errors(new), per_look, 150);
        lines.push(format!(
            "{old} {new}: {found} ({late}), measured {median} ({most})"
        ));
        // A look is a few requests, and 150 rollouts are a sample.
        let bound = |value: i32| f64::from(value) * 1.35 + 3.0;
        if found as f64 > bound(median) || late as f64 > bound(most) * 1.2 {
            wrong.push(lines.last().cloned());
        }
    }
    println!("{}", lines.join("\n"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Requests of a candidate that was good for an hour, from then on until it is taken back.
fn turned(old: Behaviour, new: Behaviour, histories: u64) -> (u64, u64) {
    let mut all: Vec<u64> = (0..histories)
        .map(|seed| {
            let mut world = World::new(seed, at_ten_percent()).deploy();
            for _ in 0..1_200 {
                world.pass(3 * SECOND, old, old);
                if world.is_taken_back() {
                    return 0;
                }
            }
            let before = world.tried;
            for _ in 0..4_000 {
                world.pass(SECOND, old, new);
                if world.is_taken_back() {
                    return world.tried - before;
                }
            }
            u64::MAX
        })
        .collect();
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

#[test]
fn an_hour_of_good_requests_is_no_credit() {
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for (old, new, most) in [
        (0.001, 0.05, 700),
        (0.001, 1.0, 25),
        (0.01, 0.05, 1_500),
        (0.01, 1.0, 35),
    ] {
        let (found, late) = turned(errors(old), errors(new), 60);
        lines.push(format!("{old} {new}: {found} ({late})"));
        if late > most {
            wrong.push(lines.last().cloned());
        }
    }
    println!("{}", lines.join("\n"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The part of 100 versions that are taken back within this time, and not promoted.
fn taken_back(
    seconds: u64,
    settings: &Settings,
    old: fn(u64) -> Behaviour,
    new: fn(&World, u64) -> Behaviour,
) -> u64 {
    let mut taken = 0;
    for seed in 0..100 {
        let mut world = World::new(seed, settings.clone()).deploy();
        for second in (0..seconds).step_by(2) {
            let how = new(&world, second);
            world.pass(2 * SECOND, old(second), how);
            if !world.record.is_running() {
                break;
            }
        }
        taken += u64::from(world.is_taken_back());
    }
    taken
}

#[test]
fn one_bad_endpoint_of_ten_is_found() {
    let found = taken_back(60, &Settings::default(), |_| errors(0.001), |_, _| errors(0.1));
    assert!(found >= 98, "{found} of 100");
}

#[test]
fn one_bad_endpoint_of_ten_in_both_versions_is_no_reason() {
    let found = taken_back(600, &Settings::default(), |_| errors(0.1), |_, _| errors(0.1));
    assert!(found <= 3, "{found} of 100");
}

#[test]
fn a_slow_burn_is_found() {
    let settings = Settings {
        step_time: Duration::from_secs(180),
        ..Settings::default()
    };
    let burning = |_: &World, second: u64| errors(0.001 + second as f64 / 10_000.0);
    let found = taken_back(720, &settings, |_| errors(0.001), burning);
    assert!(found >= 98, "{found} of 100");
}

#[test]
fn what_fails_only_under_full_load_does_not_stay_there() {
    for seed in 0..100 {
        let settings = Settings {
            step_time: Duration::from_secs(20),
            ..Settings::default()
        };
        let mut world = World::new(seed, settings).deploy();
        let mut full = 0;
        for _ in 0..300 {
            let new = errors(if world.share(OLD) == 0 { 0.1 } else { 0.001 });
            full += u64::from(world.share(OLD) == 0);
            world.pass(2 * SECOND, errors(0.001), new);
        }
        // It went back to be compared, twice; then a person decides.
        let rollout = world.record.rollout.as_deref().unwrap();
        let hold = Some(Hold::FullLoad {
            signal: Signal::Errors,
        });
        assert_eq!(
            (world.share(NEW), &rollout.hold),
            (5_000, &hold),
            "{}",
            world.transcript()
        );
        assert!(full < 10, "{full}");
    }
}

#[test]
fn when_everything_gets_worse_at_full_load_it_is_compared_again_and_goes_on() {
    let mut world = World::new(1, Settings::default()).deploy();
    while world.share(NEW) < 10_000 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    for _ in 0..50 {
        world.pass(SECOND, errors(0.3), errors(0.3));
    }
    assert_eq!(
        (world.share(NEW), world.phase()),
        (5_000, "running"),
        "{}",
        world.transcript()
    );
    for _ in 0..200 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    assert_eq!(
        world.record.stable.as_deref(),
        Some(NEW),
        "{}",
        world.transcript()
    );
}

#[test]
fn what_turns_bad_at_full_load_is_taken_back_from_the_step_before() {
    let mut world = World::new(1, Settings::default()).deploy();
    while world.share(NEW) < 10_000 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    let at = world.facts.now;
    while !world.is_taken_back() {
        world.pass(SECOND, errors(0.001), errors(0.2));
        assert!(world.facts.now < at + 20_000, "{}", world.transcript());
    }
}

#[test]
fn what_is_bad_in_a_copy_of_requests_is_found_before_anybody_sees_it() {
    let settings = Settings {
        steps: Settings::parse_steps("mirror:10,10,100").unwrap(),
        ..Settings::default()
    };
    let mut world = World::new(7, settings).deploy();
    for _ in 0..50 {
        world.pass(SECOND, errors(0.001), errors(0.3));
    }
    assert_eq!(
        world.record.rejected[0].why,
        Why::Worse {
            signal: Signal::Errors
        }
    );
    assert_eq!(world.tried, 0);
}

#[test]
fn clients_that_hang_up_are_neither_errors_nor_good() {
    let hangs = |hangs| Behaviour { errors: 0.0, hangs };
    // As often with both: nothing.
    let mut world = World::new(3, at_ten_percent()).deploy();
    for _ in 0..300 {
        world.pass(SECOND, hangs(0.05), hangs(0.05));
    }
    assert_eq!(world.phase(), "running");
    let totals: Vec<u64> = world
        .record
        .rollout
        .iter()
        .map(|r| r.totals.values().map(|p| p.candidate.errors.k).sum())
        .collect();
    assert_eq!(totals, [0]);
    // More often with the candidate: found, by that signal.
    for _ in 0..120 {
        world.pass(SECOND, hangs(0.05), hangs(0.3));
    }
    let why = &world.record.rejected[0].why;
    assert_eq!(
        *why,
        Why::Worse {
            signal: Signal::Abandoned
        }
    );
    // Unless nobody wants that to be judged.
    let settings = Settings {
        abandoned: false,
        ..at_ten_percent()
    };
    let mut world = World::new(3, settings).deploy();
    for _ in 0..300 {
        world.pass(SECOND, hangs(0.05), hangs(0.3));
    }
    assert_eq!(world.phase(), "running");
}

#[test]
fn a_server_that_returns_errors_for_hang_ups_is_found() {
    let mut world = World::new(5, at_ten_percent()).deploy();
    let old = Behaviour {
        errors: 0.0,
        hangs: 0.05,
    };
    for _ in 0..120 {
        world.pass(SECOND, old, errors(0.05));
    }
    assert_eq!(
        world.record.rejected[0].why,
        Why::Worse {
            signal: Signal::Errors
        }
    );
}

#[test]
fn a_server_that_hangs_is_found() {
    let mut world = World::new(5, at_ten_percent()).deploy();
    for _ in 0..20 {
        world.pass(
            SECOND,
            errors(0.001),
            Behaviour {
                errors: 0.0,
                hangs: 1.0,
            },
        );
    }
    assert_eq!(
        world.record.rejected[0].why,
        Why::Worse {
            signal: Signal::Abandoned
        }
    );
}

#[test]
fn the_servers_own_metric_is_judged_where_it_is_named() {
    let run = |metric: Option<&str>| {
        let settings = Settings {
            metric: metric.map(Into::into),
            ..at_ten_percent()
        };
        let mut world = World::new(5, settings).deploy();
        for _ in 0..60 {
            for (version, n, bad) in [(OLD, 90, 1), (NEW, 10, 4)] {
                world.add(version, xds_bridge::rollout::Stratum::Envoy, n, 0, 0);
                let run = world.facts.runs.get_mut("run").unwrap();
                let count = run
                    .counts
                    .get_mut(&(version.into(), xds_bridge::rollout::Stratum::Envoy))
                    .unwrap();
                count.measured += n;
                count.bad += bad;
            }
            world.rate = 0.0;
            world.pass(SECOND, errors(0.0), errors(0.0));
        }
        world
    };
    assert_eq!(
        run(Some("slow")).record.rejected[0].why,
        Why::Worse {
            signal: Signal::Metric
        }
    );
    assert_eq!(run(None).phase(), "running");
}

#[test]
fn both_equally_bad_is_no_alarm_and_the_margin_decides_on_the_next_step() {
    let mut world = World::new(9, Settings::default()).deploy();
    for _ in 0..600 {
        world.pass(SECOND, errors(0.02), errors(0.02));
    }
    assert!(world.record.rejected.is_empty(), "{}", world.transcript());
}

#[test]
fn traffic_that_stops_is_neither_good_nor_bad() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.rate = 0.0;
    for _ in 0..1_000 {
        world.pass(SECOND, errors(0.0), errors(0.0));
    }
    let rollout = world.record.rollout.as_deref().unwrap();
    assert_eq!(
        rollout.hold,
        Some(Hold::FewRequests {
            signal: Signal::Errors,
            need: 300
        })
    );
    assert_eq!((world.share(NEW), rollout.phase.clone()), (1_000, Phase::Running));
    world.rate = 100.0;
    for _ in 0..300 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    assert_eq!(world.record.stable.as_deref(), Some(NEW));
}

#[test]
fn without_reports_nothing_is_ramped() {
    let mut world = World::new(1, Settings::default()).deploy();
    for _ in 0..50 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    for _ in 0..300 {
        // Requests go on, and so do counts; but no report says that they are new.
        world.serve(SECOND, errors(0.0), errors(0.0));
        world.decide();
        assert!(world.share(NEW) <= 1_000, "{}", world.transcript());
    }
    let hold = world.record.rollout.as_deref().unwrap().hold.clone();
    assert_eq!(hold, Some(Hold::NoReports));
    for _ in 0..300 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    assert_eq!(
        world.record.stable.as_deref(),
        Some(NEW),
        "{}",
        world.transcript()
    );
}

/// Before a rollout clients report each ten seconds: that the last report is old is no news when it begins.
#[test]
fn a_rollout_that_begins_between_two_reports_is_not_held_for_that() {
    let mut world = World::new(1, Settings::default());
    let now = world.facts.now;
    world.facts.clients.last_report = Some(now - 9_900);
    world.facts.versions.insert(NEW.into(), instances(2, now));
    world.decide();
    let hold = |world: &World| world.record.rollout.as_deref().expect("a rollout").hold.clone();
    for _ in 0..4 {
        world.facts.now += 2_000;
        world.decide();
        assert_ne!(hold(&world), Some(Hold::NoReports), "{}", world.transcript());
    }
    world.facts.now += 2_000;
    world.decide();
    assert_eq!(hold(&world), Some(Hold::NoReports));
}
