//! `[rollouts]`: how new versions are rolled out where their services do not say it themselves.

use std::sync::Arc;
use std::time::Duration;

use super::parse;
use super::reader::Section;
use crate::model::overrides::{fits, pattern};
use crate::rollout::{OnNoData, Settings};

/// The shortest time of a step.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longer names of metrics are none.
const METRIC: usize = 128;

/// `[rollouts]`
#[derive(Clone, Debug, PartialEq)]
pub struct Rollouts {
    /// Rollouts are driven from here; without it declared shares decide alone.
    pub enabled: bool,
    /// For all services.
    pub defaults: Settings,
    /// `[rollouts.services."PATTERN"]`, each whole, the most special first.
    pub services: Vec<(Arc<str>, Settings)>,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self {
            enabled: true,
            defaults: Settings::default(),
            services: Vec::new(),
        }
    }
}

impl Rollouts {
    /// What holds for a service that says nothing itself.
    #[must_use]
    pub fn of(&self, service: &str) -> &Settings {
        let fitting = self.services.iter().find(|(pattern, _)| fits(pattern, service));
        fitting.map_or(&self.defaults, |(_, settings)| settings)
    }
}

pub(super) fn read(mut s: Section<'_>) -> Rollouts {
    let enabled = s.get_or("enabled", true, parse::switch);
    let defaults = settings(&mut s, &Settings::default());
    let one = |mut s: Section<'_>| {
        if let Err(text) = pattern(s.name()) {
            s.mistake("", text);
        }
        let name: Arc<str> = s.name().into();
        let settings = settings(&mut s, &defaults);
        s.finish();
        (name, settings)
    };
    let mut services: Vec<_> = s.sections("services").into_iter().map(one).collect();
    services.sort_by_key(|(pattern, _)| (pattern.ends_with('*'), std::cmp::Reverse(pattern.len())));
    s.finish();
    Rollouts {
        enabled,
        defaults,
        services,
    }
}

/// What is not said is as in `before`.
fn settings(s: &mut Section<'_>, before: &Settings) -> Settings {
    let step_time = |text: &str| {
        let time = parse::duration(text)?;
        if time < SHORTEST {
            return Err(format!("`{text}` must be at least 1s"));
        }
        Ok(time)
    };
    let metric = |text: &str| match text {
        "" => Ok(None),
        text if text.len() <= METRIC && text.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(text.into())),
        _ => Err(format!(
            "must be the name of a named metric (ORCA), of up to {METRIC} visible characters"
        )),
    };
    let steps = s.get_or("steps", before.steps.clone(), Settings::parse_steps);
    let gates = s.get_or("gates", before.gates.clone(), |text| {
        Settings::parse_gates(text, &steps)
    });
    let min_sample = s.get("min_sample", parse::count(1, 10_000_000));
    Settings {
        auto: s.get_or("auto", before.auto, parse::switch),
        dry_run: s.get_or("dry_run", before.dry_run, parse::switch),
        one_dry_run: false,
        declared: before.declared,
        step_time: s.get_or("step_time", before.step_time, step_time),
        min_sample: min_sample.map_or(before.min_sample, |n| n as u64),
        margin: s.get_or("margin", before.margin, Settings::parse_margin),
        deadline: s.get_or("deadline", before.deadline, parse::duration),
        on_no_data: s.get_or("on_no_data", before.on_no_data, OnNoData::parse),
        abandoned: s.get_or("abandoned", before.abandoned, parse::switch),
        metric: s.get_or("metric", before.metric.clone(), metric),
        grace: s.get_or("grace", before.grace, parse::duration),
        gone_after: s.get_or("gone_after", before.gone_after, parse::duration),
        refuse_one_way: s.get_or("refuse_one_way", before.refuse_one_way, parse::switch),
        steps,
        gates,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigError, load_str};

    fn read(text: &str) -> Result<Rollouts, Vec<String>> {
        let text = format!("[sources.a]\nkind = \"file\"\npath = \"a\"\n{text}");
        match load_str(Path::new("bridge.toml"), &text, None) {
            Ok(config) => Ok(config.rollouts),
            Err(ConfigError::Mistakes { mistakes, .. }) => {
                Err(mistakes.iter().map(ToString::to_string).collect())
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_name_counts_before_a_pattern_and_all_begin_from_the_defaults() {
        assert_eq!(read(""), Ok(Rollouts::default()));
        let rollouts = read(
            "[rollouts]\nsteps = \"5,100\"\nmargin = \"2%\"\n[rollouts.services.\"orders*\"]\nstep_time = \
             \"5m\"\n[rollouts.services.orders]\ngates = \"100=person\"\nauto = false\n",
        )
        .unwrap();
        let steps = |name: &str| rollouts.of(name).steps.len();
        assert_eq!((steps("web"), steps("orders"), steps("orders-2")), (2, 2, 2));
        let times = ["web", "orders", "orders-2"].map(|name| rollouts.of(name).step_time.as_secs());
        assert_eq!(times, [60, 60, 300]);
        let orders = rollouts.of("orders");
        assert!(!orders.auto && orders.gates.len() == 1 && rollouts.of("web").auto);
        assert!((orders.margin - 0.02).abs() < 1e-9);
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (text, words) in [
            ("steps = \"10,50\"", "has to end with 100"),
            ("step_time = \"10ms\"", "at least 1s"),
            ("margin = \"2\"", "such as 1%"),
            ("min_sample = 0", "from 1 to"),
            ("on_no_data = \"promote\"", "promote_after(10m)"),
            ("gates = \"30=person\"", "there is no step 30"),
            ("metric = \"a b\"", "name of a named metric"),
            ("stepp_time = \"1s\"", "did you mean `step_time`"),
            ("[rollouts.services.\"*a\"]\nauto = true", "how names begin"),
        ] {
            let mistakes = read(&format!("[rollouts]\n{text}\n")).unwrap_err();
            assert!(
                mistakes.iter().any(|mistake| mistake.contains(words)),
                "{text}: {mistakes:?}"
            );
        }
    }
}
