//! The policy that holds for one service: what it declares, over `[rollouts]` of the configuration. Pure.

use std::sync::Arc;

use crate::config::Rollouts;
use crate::hub::Versioned;
use crate::rollout::{Gate, OnNoData, Order, Pass, Record, Settings, Step};
use crate::text::parse_duration;

/// The policy, and what is wrong with what is declared; that is as configured then. What the stable version declares
/// counts, where one is known: a candidate does not set the rules that it is judged by.
pub(super) fn of(
    config: &Rollouts,
    service: &str,
    versioned: &Versioned,
    stable: Option<&Arc<str>>,
) -> (Settings, Vec<String>) {
    let mut settings = config.of(service).clone();
    let mut wrong = Vec::new();
    settings.auto &= versioned.auto;
    settings.declared = versioned.auto;
    let stable = stable.and_then(|stable| versioned.versions.get(stable));
    let keys = stable.map_or(&versioned.keys, |version| &version.keys);
    let mut read = |name: &str, text: &Option<Arc<str>>, set: &mut dyn FnMut(&str) -> Result<(), String>| {
        if let Some(text) = text
            && let Err(why) = set(text)
        {
            wrong.push(format!("rollout-{name}: {why}"));
        }
    };
    read("steps", &keys.steps, &mut |text| {
        settings.steps = Settings::parse_steps(&plain(text))?;
        Ok(())
    });
    read("step-time", &keys.step_time, &mut |text| {
        settings.step_time = parse_duration(text)?;
        Ok(())
    });
    read("min-requests", &keys.min_requests, &mut |text| {
        let number = text.parse::<u64>();
        settings.min_sample = number.map_err(|_| format!("`{text}` must be a whole number"))?;
        Ok(())
    });
    read("margin", &keys.margin, &mut |text| {
        settings.margin = Settings::parse_margin(text)?;
        Ok(())
    });
    read("deadline", &keys.deadline, &mut |text| {
        settings.deadline = parse_duration(text)?;
        Ok(())
    });
    read("no-data", &keys.no_data, &mut |text| {
        settings.on_no_data = match text {
            "promote_after" => OnNoData::PromoteAfter(settings.step_time),
            text => OnNoData::parse(text)?,
        };
        Ok(())
    });
    read("metric", &keys.metric, &mut |text| {
        settings.metric = Some(text.into());
        Ok(())
    });
    read("gates", &keys.gates, &mut |text| {
        settings.gates = gates(text, &settings.steps)?;
        Ok(())
    });
    // Gates before steps that there are no more would be asked by nobody.
    let steps = &settings.steps;
    settings.gates.retain(|gate| steps.contains(&gate.step));
    (settings, wrong)
}

/// A rollout that a person started as a dry run stays one.
pub(super) fn with_dry_run(settings: Settings, record: &Record) -> Settings {
    let rollout = record.rollout.as_deref();
    if rollout.is_some_and(|rollout| rollout.dry_run && !rollout.by.is_empty()) {
        one_dry_run(settings)
    } else {
        settings
    }
}

/// What an order is carried out by: what it starts is judged only if it says so, whatever was before.
pub(super) fn for_order(settings: Settings, record: &Record, order: &Order, dry_run: bool) -> Settings {
    match order {
        Order::Start { .. } if dry_run => one_dry_run(settings),
        Order::Start { .. } => settings,
        _ => with_dry_run(settings, record),
    }
}

/// What holds for one rollout that is judged only.
fn one_dry_run(settings: Settings) -> Settings {
    Settings {
        one_dry_run: !settings.dry_run,
        dry_run: true,
        ..settings
    }
}

/// `10%` is `10`, and `mirror` a tenth.
fn plain(steps: &str) -> String {
    let plain = |step: &str| match step.trim() {
        "mirror" => "mirror:10".to_owned(),
        step => step.trim_end_matches('%').to_owned(),
    };
    steps.split(',').map(plain).collect::<Vec<_>>().join(",")
}

/// Each `STEP=WHO`, or `WHO` alone before the last step.
fn gates(text: &str, steps: &[Step]) -> Result<Vec<Gate>, String> {
    let one = |part: &str| {
        let part = part.trim();
        let pass = match part {
            "person" => Some(Pass::Person),
            part if part.starts_with("http://") || part.starts_with("https://") => {
                Some(Pass::Http(part.into()))
            }
            _ => None,
        };
        match pass.zip(steps.last()) {
            Some((pass, step)) => Ok(vec![Gate { step: *step, pass }]),
            None => Settings::parse_gates(part, steps),
        }
    };
    let all: Result<Vec<Vec<Gate>>, String> = text.split(',').map(one).collect();
    Ok(all?.concat())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::RolloutKeys;
    use crate::model::rollouts::WHOLE;

    fn versioned(keys: RolloutKeys) -> Versioned {
        Versioned {
            auto: true,
            keys,
            ..Versioned::default()
        }
    }

    #[test]
    fn what_a_service_declares_is_stronger_and_what_is_wrong_costs_itself() {
        let config = Rollouts::default();
        let text = |text: &str| Some(Arc::from(text));
        let keys = RolloutKeys {
            steps: text("header,mirror:10%,5%,100"),
            step_time: text("2s"),
            min_requests: text("50"),
            margin: text("2%"),
            no_data: text("promote_after"),
            gates: text("5=person,https://ci.example.com/ok"),
            ..RolloutKeys::default()
        };
        let (settings, wrong) = of(&config, "orders", &versioned(keys), None);
        assert_eq!(wrong, [] as [&str; 0]);
        let shown: Vec<String> = settings.steps.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["header", "mirror:10", "5", "100"]);
        let gates: Vec<String> = settings.gates.iter().map(ToString::to_string).collect();
        assert_eq!(gates, ["5=person", "100=https://ci.example.com/ok"]);
        assert_eq!(
            (
                settings.step_time,
                settings.min_sample,
                settings.margin,
                settings.on_no_data
            ),
            (
                Duration::from_secs(2),
                50,
                0.02,
                OnNoData::PromoteAfter(Duration::from_secs(2))
            )
        );
        assert_eq!(settings.deadline, Settings::default().deadline);

        let keys = RolloutKeys {
            steps: text("50,10,100"),
            margin: text("99%"),
            deadline: text("1h"),
            ..RolloutKeys::default()
        };
        let (settings, wrong) = of(&config, "orders", &versioned(keys), None);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("rollout-steps: "), "{wrong:?}");
        assert_eq!(settings.steps, Settings::default().steps);
        assert_eq!(settings.deadline, Duration::from_secs(3_600));
    }

    #[test]
    fn a_gate_before_a_step_that_a_service_does_not_have_is_none() {
        let mut config = Rollouts::default();
        config.defaults.gates = Settings::parse_gates("25=person", &config.defaults.steps).unwrap();
        assert_eq!(
            of(&config, "a", &versioned(RolloutKeys::default()), None)
                .0
                .gates
                .len(),
            1
        );
        let keys = RolloutKeys {
            steps: Some("100".into()),
            ..RolloutKeys::default()
        };
        let (settings, _) = of(&config, "a", &versioned(keys), None);
        assert_eq!(
            (settings.gates, settings.steps),
            (Vec::new(), vec![Step::Share(WHOLE)])
        );
        let (settings, _) = of(&config, "a", &Versioned::default(), None);
        assert!(!settings.auto, "a person starts it");
    }

    #[test]
    fn a_candidate_does_not_set_the_rules_that_it_is_judged_by() {
        let config = Rollouts::default();
        let steps = |text: &str| RolloutKeys {
            steps: Some(text.into()),
            ..RolloutKeys::default()
        };
        let mut seen = versioned(steps("100"));
        for (name, keys) in [("old", steps("10,100")), ("new", steps("100"))] {
            let version = crate::hub::Version {
                keys,
                ..crate::hub::Version::default()
            };
            seen.versions.insert(name.into(), version);
        }
        let number = |stable: Option<&str>| {
            let stable = stable.map(Arc::from);
            of(&config, "orders", &seen, stable.as_ref()).0.steps.len()
        };
        assert_eq!((number(Some("old")), number(None)), (2, 1));
        assert_eq!(number(Some("gone")), 1, "by what is in force");
    }

    #[test]
    fn only_what_is_started_as_a_dry_run_is_one() {
        let record = |dry_run| Record {
            rollout: Some(Box::new(crate::rollout::Rollout {
                by: "ann".to_owned(),
                dry_run,
                ..crate::rollout::Rollout::default()
            })),
            ..Record::default()
        };
        let is_dry = |record: &Record, order: &Order, dry_run| {
            let settings = for_order(Settings::default(), record, order, dry_run);
            assert_eq!(settings.dry_run, settings.one_dry_run);
            settings.dry_run
        };
        let start = Order::Start { version: None };
        assert!(is_dry(&record(false), &start, true) && !is_dry(&record(false), &start, false));
        // In the grace time of a dry run a rollout in earnest starts.
        assert!(!is_dry(&record(true), &start, false));
        // Other words of an order change nothing of what runs.
        assert!(!is_dry(&record(false), &Order::Abort, true) && is_dry(&record(true), &Order::Abort, false));
        let policy = Settings {
            dry_run: true,
            ..Settings::default()
        };
        let all = for_order(policy, &Record::default(), &start, true);
        assert!(all.dry_run && !all.one_dry_run);
    }
}
