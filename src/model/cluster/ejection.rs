//! `outlier`: servers that fail requests get none for a while.

use std::fmt;
use std::time::Duration;

use super::words::{self, Shown};

/// More failures in a row than this are no sign any more.
const MOST_ERRORS: u32 = 10_000;
/// The shortest time between two looks, and of an ejection.
const SHORTEST: Duration = Duration::from_millis(100);

const WORDS: [&str; 6] = [
    "errors",
    "gateway-errors",
    "failure-rate",
    "interval",
    "ejection",
    "max-ejected",
];

/// `outlier`, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outlier {
    /// Nobody is ejected.
    Off,
    /// Who fails is.
    On(Ejection),
}

/// When a server is ejected. What is `None` has the default, or does not eject.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ejection {
    /// `errors=`: answers 5xx, or none, in a row.
    pub errors: Option<u32>,
    /// `gateway-errors=`: answers 502, 503, 504, or none, in a row.
    pub gateway_errors: Option<u32>,
    /// `failure-rate=`: percent of the requests of an interval.
    pub failure_rate: Option<u32>,
    /// `interval=`
    pub interval: Option<Duration>,
    /// `ejection=`: the time of the first one; each further one is longer.
    pub ejection: Option<Duration>,
    /// `max-ejected=`: percent of the servers.
    pub max_ejected: Option<u32>,
}

impl Ejection {
    /// Errors in a row, where nothing is declared that ejects.
    pub const ERRORS: u32 = 5;
    /// Between two looks, unless declared.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// Of the first ejection, unless declared.
    pub const EJECTION: Duration = Duration::from_secs(30);
    /// Percent of the servers, unless declared. Envoy's own 10 % ejects none of two.
    pub const MAX_EJECTED: u32 = 50;

    /// The errors in a row that eject, if any do.
    #[must_use]
    pub fn errors(&self) -> Option<u32> {
        let others = self.gateway_errors.or(self.failure_rate);
        self.errors.or(others.is_none().then_some(Self::ERRORS))
    }
}

impl Outlier {
    /// Reads `off`, or words: `errors=5 ejection=30s`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if text.is_empty() {
            return Err("is empty: it must be off, or words such as errors=5 ejection=30s".to_owned());
        }
        let mut ejection = Ejection::default();
        words::read(text.split_whitespace(), &WORDS, |name, value| {
            let what = format!("{name}=");
            let errors = || words::count(&what, value, 1..=MOST_ERRORS);
            let time = || words::at_least(&what, value, SHORTEST);
            match name {
                "errors" => ejection.errors = Some(errors()?),
                "gateway-errors" => ejection.gateway_errors = Some(errors()?),
                "failure-rate" => ejection.failure_rate = Some(words::percent(&what, value)?),
                "interval" => ejection.interval = Some(time()?),
                "ejection" => ejection.ejection = Some(time()?),
                _ => ejection.max_ejected = Some(words::percent(&what, value)?),
            }
            Ok(())
        })?;
        Ok(Self::On(ejection))
    }
}

/// As it is declared.
impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On(ejection) = self else {
            return f.write_str("off");
        };
        let text = Shown::default()
            .count("errors", ejection.errors)
            .count("gateway-errors", ejection.gateway_errors)
            .percent("failure-rate", ejection.failure_rate)
            .time("interval", ejection.interval)
            .time("ejection", ejection.ejection)
            .percent("max-ejected", ejection.max_ejected);
        f.write_str(&text.text())
    }
}
