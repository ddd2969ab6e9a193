//! How often a version that is no worse is taken back: 12,000 rollouts, one of a hundred at most.

use std::time::Duration;

use xds_bridge::rollout::{Settings, Stratum};

use super::world::{Behaviour, SECOND, World, errors};

/// Rollouts of each scenario.
const HISTORIES: u64 = 1_000;

/// How both versions behave at a time, in seconds since the start.
type Both = fn(&mut World, u64) -> Behaviour;

const SCENARIOS: &[(&str, f64, &[Stratum], Both)] = &[
    ("no errors", 100.0, &[Stratum::Envoy], |_, _| errors(0.0)),
    ("0.1 %", 100.0, &[Stratum::Envoy], |_, _| errors(0.001)),
    ("1 %", 100.0, &[Stratum::Envoy], |_, _| errors(0.01)),
    ("5 %", 100.0, &[Stratum::Envoy], |_, _| errors(0.05)),
    ("one of three", 20.0, &[Stratum::Envoy], |_, _| errors(0.33)),
    ("few requests", 3.0, &[Stratum::Envoy], |_, _| errors(0.02)),
    ("bursts", 100.0, &[Stratum::Envoy], |_, second| {
        errors(if second % 45 < 8 { 0.4 } else { 0.002 })
    }),
    ("a dependency goes away", 100.0, &[Stratum::Envoy], |_, second| {
        errors(if second < 90 { 0.001 } else { 0.9 })
    }),
    ("it gets worse slowly", 100.0, &[Stratum::Envoy], |_, second| {
        errors((second as f64 / 3_000.0).min(0.5))
    }),
    (
        "traffic comes and goes",
        100.0,
        &[Stratum::Envoy],
        |world, second| {
            world.rate = if second % 60 < 20 { 0.0 } else { 150.0 };
            errors(0.01)
        },
    ),
    ("kinds of clients", 150.0, &Stratum::ALL, |_, _| errors(0.01)),
    (
        "clients that hang up",
        100.0,
        &[Stratum::Envoy, Stratum::Grpc],
        |_, _| Behaviour {
            errors: 0.001,
            hangs: 0.05,
        },
    ),
];

#[test]
fn one_of_a_hundred_good_versions_is_taken_back_at_most() {
    let (mut all, mut lines) = (0, Vec::new());
    let settings = Settings::default();
    for (name, rate, kinds, both) in SCENARIOS {
        let mut taken = 0;
        for seed in 0..HISTORIES {
            let mut world = World::new(seed, settings.clone());
            world.rate = *rate;
            world.kinds = kinds.to_vec();
            let mut world = world.deploy();
            // From the first step until it is promoted, or for seven minutes.
            for tick in 0..105 {
                let how = both(&mut world, tick * 4);
                world.pass(4 * SECOND, how, how);
                if !world.record.is_running() {
                    break;
                }
            }
            taken += u64::from(world.is_taken_back());
        }
        all += taken;
        lines.push(format!("{name}: {taken}"));
        // Of a single scenario: 1 %, and what chance adds to it.
        assert!(taken <= HISTORIES / 100 + 10, "{name}: {taken} of {HISTORIES}");
    }
    println!("taken back: {}", lines.join(", "));
    assert!(all <= HISTORIES * SCENARIOS.len() as u64 / 100, "{lines:?}");
}

/// A step of a whole hour, looked at each fifteen seconds.
#[test]
fn nor_in_an_hour() {
    let settings = Settings {
        step_time: Duration::from_secs(7_200),
        ..Settings::default()
    };
    for part in [0.001, 0.02, 0.3] {
        let mut taken = 0;
        for seed in 0..150 {
            let mut world = World::new(seed, settings.clone()).deploy();
            for _ in 0..240 {
                world.pass(15 * SECOND, errors(part), errors(part));
            }
            taken += u64::from(world.is_taken_back());
        }
        assert!(taken <= 4, "{part}: {taken} of 150");
    }
}
