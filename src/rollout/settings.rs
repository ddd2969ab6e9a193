//! The policy of a service's rollouts, and how its parts are written. Pure.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::rollouts::WHOLE;
use crate::text::{clip, parse_duration, show_duration};

/// Steps of one rollout.
const MAX_STEPS: usize = 20;

/// How the versions of one service are rolled out.
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A new version starts by itself; otherwise a person starts it.
    pub auto: bool,
    /// Judge, and say what would be done: each version keeps the requests that it has without a rollout.
    pub dry_run: bool,
    /// The policy itself acts: only the rollout that is under way is judged, since a person started it so.
    pub one_dry_run: bool,
    /// The service declares rollouts: its stable version has everything also while none is under way.
    pub declared: bool,
    /// What the candidate gets, one after the other; the last is all.
    pub steps: Vec<Step>,
    /// Each step takes at least this time.
    pub step_time: Duration,
    /// Requests that the candidate has to have answered in a step before the next begins.
    pub min_sample: u64,
    /// The next step begins when the candidate's error rate is, with 95 %, less than this above the stable version's.
    pub margin: f64,
    /// A rollout that takes longer waits for a person; zero: it may take any time.
    pub deadline: Duration,
    /// What happens when a step has had its time and too few requests.
    pub on_no_data: OnNoData,
    /// What has to agree before a step begins.
    pub gates: Vec<Gate>,
    /// Requests that clients give up on are judged, too.
    pub abandoned: bool,
    /// A named metric of the servers (ORCA), 1 for a bad request and 0 for a good one, that is judged, too.
    pub metric: Option<Arc<str>>,
    /// After a rollout has ended the next one waits for this time.
    pub grace: Duration,
    /// A candidate of which no instance is healthy for this time is gone.
    pub gone_after: Duration,
    /// A candidate is not started when it writes data that the stable version cannot read.
    pub refuse_one_way: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto: true,
            dry_run: false,
            one_dry_run: false,
            declared: true,
            steps: [10, 25, 50, 100]
                .map(|percent| Step::Share(percent * WHOLE / 100))
                .into(),
            step_time: Duration::from_secs(60),
            min_sample: 300,
            margin: 0.01,
            deadline: Duration::from_secs(86_400),
            on_no_data: OnNoData::Hold,
            gates: Vec::new(),
            abandoned: true,
            metric: None,
            grace: Duration::from_secs(30),
            gone_after: Duration::from_secs(30),
            refuse_one_way: false,
        }
    }
}

/// What the candidate gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Requests that ask for it by header, and no others.
    Header,
    /// A copy of these requests, in millionths of all; nobody sees its answers.
    Mirror(u32),
    /// This part of [`WHOLE`].
    Share(u32),
}

/// What happens when a step has had its time and too few requests, while clients do report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoData {
    /// Wait for more.
    #[default]
    Hold,
    /// The next step begins when this one has taken this time, and nothing speaks against it.
    PromoteAfter(Duration),
    /// Wait for more, and alert somebody.
    Alert,
}

/// Something has to agree before a step begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The step.
    pub step: Step,
    /// What.
    pub pass: Pass,
}

/// Who agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// An address (`http://…`, `https://…`) that answers 200.
    Http(Arc<str>),
    /// A person, by the order `promote`.
    Person,
}

impl Settings {
    /// Reads steps: `10,25,50,100`, `header,mirror:5,10,50,100`. Percent, of which two digits after the point count.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
        let steps: Vec<Step> = text
            .split(',')
            .map(|part| Step::parse(part.trim()))
            .collect::<Result<_, _>>()?;
        if steps.len() > MAX_STEPS {
            return Err(format!(
                "`{}` has {} steps; at most {MAX_STEPS} are possible",
                clip(text),
                steps.len()
            ));
        }
        for pair in steps.windows(2) {
            if pair[0].rank() >= pair[1].rank() {
                return Err(format!(
                    "`{}`: step {} does not come after {}; write `header` first, then `mirror:PERCENT`, then rising \
                     percentages, such as header,mirror:5,10,50,100",
                    clip(text),
                    pair[1],
                    pair[0]
                ));
            }
        }
        match steps.last() {
            Some(Step::Share(WHOLE)) => Ok(steps),
            _ => Err(format!(
                "`{}` has to end with 100, such as 10,25,50,100",
                clip(text)
            )),
        }
    }

    /// Reads gates: `25=person, 50=http://gate.internal/ok`, each with a step out of these.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse_gates(text: &str, steps: &[Step]) -> Result<Vec<Gate>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.split(',')
            .map(|part| Gate::parse(part.trim(), steps))
            .collect()
    }

    /// Reads a margin: `1%`, `0.5%`; from 0.01 to 50 percent.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse_margin(text: &str) -> Result<f64, String> {
        percent(text.strip_suffix('%').unwrap_or_default(), 100)
            .filter(|parts| (1..=5_000).contains(parts))
            .map(|parts| f64::from(parts) / 10_000.0)
            .ok_or_else(|| format!("`{}` is not a margin from 0.01% to 50%, such as 1%", clip(text)))
    }

    /// Reads what a version understands of the stored data: `11..12`, `12`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse_reads(text: &str) -> Result<RangeInclusive<u32>, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        let range = match text.split_once("..") {
            Some((from, to)) => number(from).zip(number(to)),
            None => number(text).zip(number(text)),
        };
        range
            .filter(|(from, to)| from <= to)
            .map(|(from, to)| from..=to)
            .ok_or_else(|| {
                format!(
                    "`{}` is not a range of data numbers, such as 11..12 (both of them are included)",
                    clip(text)
                )
            })
    }
}

/// A percentage in parts, this number of them to the percent.
fn percent(text: &str, parts: u32) -> Option<u32> {
    let digits = parts.ilog10() as usize;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || part.len() > digits
        || !is_plain(whole)
        || !is_plain(part)
        || text.ends_with('.')
    {
        return None;
    }
    let part: u32 = format!("{part:0<digits$}").parse().ok()?;
    let sum = whole.parse::<u32>().ok()? * parts + part;
    (sum <= 100 * parts).then_some(sum)
}

/// Without zeros at the end.
fn show_percent(value: u32, parts: u32) -> String {
    let digits = parts.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / parts, value % parts);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Step {
    /// Reads `header`, `mirror:5` or `10`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let step = match number.split_once(':') {
            None if text == "header" => Some(Self::Header),
            Some(("mirror", share)) => percent(share, 10_000).map(Self::Mirror),
            Some(_) => None,
            None => percent(number, 100).map(Self::Share),
        };
        step.filter(|step| !matches!(step, Self::Share(0) | Self::Mirror(0))).ok_or_else(|| {
            format!("`{}` is not a step: `header`, `mirror:5` or a percentage above 0 and up to 100, such as 10", clip(text))
        })
    }

    /// Of all requests, in parts of [`WHOLE`].
    #[must_use]
    pub const fn share(self) -> u32 {
        match self {
            Self::Share(parts) => parts,
            Self::Header | Self::Mirror(_) => 0,
        }
    }

    /// It comes before this one.
    pub(super) fn is_before(self, other: Self) -> bool {
        self.rank() < other.rank()
    }

    /// Steps come in this order.
    const fn rank(self) -> (u8, u32) {
        match self {
            Self::Header => (0, 0),
            Self::Mirror(share) => (1, share),
            Self::Share(parts) => (2, parts),
        }
    }
}

/// As it is read.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Mirror(share) => write!(f, "mirror:{}", show_percent(*share, 10_000)),
            Self::Share(parts) => f.write_str(&show_percent(*parts, 100)),
        }
    }
}

impl OnNoData {
    /// Reads `hold`, `alert` or `promote_after(10m)`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let after = text
            .strip_prefix("promote_after(")
            .and_then(|rest| rest.strip_suffix(')'));
        match (text, after) {
            ("hold", _) => Ok(Self::Hold),
            ("alert", _) => Ok(Self::Alert),
            (_, Some(time)) => parse_duration(time).map(Self::PromoteAfter),
            _ => Err(format!(
                "`{}` must be hold, alert, or promote_after(10m) with a duration",
                clip(text)
            )),
        }
    }
}

/// As it is read.
impl fmt::Display for OnNoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::Alert => f.write_str("alert"),
            Self::PromoteAfter(time) => write!(f, "promote_after({})", show_duration(*time)),
        }
    }
}

impl Gate {
    fn parse(text: &str, steps: &[Step]) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` is not a gate: STEP=person or STEP=http(s)://…, such as 50=person",
                clip(text)
            )
        };
        let (step, pass) = text.split_once('=').ok_or_else(bad)?;
        let step = Step::parse(step.trim())?;
        if !steps.contains(&step) {
            return Err(format!(
                "`{}`: there is no step {step}; add it to the steps",
                clip(text)
            ));
        }
        let pass = match pass.trim() {
            "person" => Pass::Person,
            address if is_address(address) => Pass::Http(address.into()),
            _ => return Err(bad()),
        };
        Ok(Self { step, pass })
    }
}

fn is_address(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or_default();
    let plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    plain && !rest.is_empty() && !rest.starts_with('/') && text.len() <= 512
}

/// As it is read.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pass {
            Pass::Person => write!(f, "{}=person", self.step),
            Pass::Http(address) => write!(f, "{}={address}", self.step),
        }
    }
}

/// As it is read.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}
