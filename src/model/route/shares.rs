//! `split=orders:90,orders-next:10`, `mirror=orders-next:1%`: other services that get some of the requests. Pure.

use crate::model::service::check_name;
use crate::text::clip;

/// The most services of one route.
const MAX: usize = 16;
/// All requests, in millionths.
pub const ALL: u32 = 1_000_000;

/// One of several services that share the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// By name.
    pub service: String,
    /// Beside the other weights.
    pub weight: u32,
}

/// A service that gets a copy of requests; its answers are thrown away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mirror {
    /// By name.
    pub service: String,
    /// How many of the requests, in millionths.
    pub millionths: u32,
}

/// Reads the value of `split=`.
pub(super) fn split(text: &str) -> Result<Vec<Part>, String> {
    let bad = |why: &str| {
        format!(
            "`split={}` must be services with their weights, such as orders:90,orders-next:10{why}",
            clip(text)
        )
    };
    let mut parts: Vec<Part> = Vec::new();
    for part in text.split(',') {
        let (service, weight) = part.rsplit_once(':').ok_or_else(|| bad(""))?;
        let weight = weight.parse().ok().filter(|weight| *weight <= 1_000_000);
        check_name(service).map_err(|why| bad(&format!(": {why}")))?;
        if parts.iter().any(|part| part.service == service) {
            return Err(bad(": each of them once"));
        }
        parts.push(Part {
            service: service.to_owned(),
            weight: weight.ok_or_else(|| bad(": weights from 0 to 1000000"))?,
        });
    }
    if parts.len() > MAX || parts.iter().all(|part| part.weight == 0) {
        return Err(bad(&format!(": at most {MAX}, and one of them above 0")));
    }
    Ok(parts)
}

/// `split` as it is declared.
pub(super) fn show_split(parts: &[Part]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("{}:{}", part.service, part.weight))
        .collect();
    parts.join(",")
}

impl Mirror {
    /// Reads `orders-next` or `orders-next:10%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`mirror={}` must be a service, and maybe how many of the requests it gets: orders-next:10%",
                clip(text)
            )
        };
        let (service, share) = match text.rsplit_once(':') {
            Some((service, share)) => (service, share.strip_suffix('%').ok_or_else(bad)?),
            None => (text, "100"),
        };
        check_name(service).map_err(|why| format!("{}: {why}", bad()))?;
        let plain = share.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let percent = plain.then(|| share.parse::<f64>().ok()).flatten();
        let percent = percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .ok_or_else(bad)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 100"
        )]
        let millionths = (percent * 10_000.0).round() as u32;
        Ok(Self {
            service: service.to_owned(),
            millionths,
        })
    }

    /// As it is declared.
    pub(super) fn show(&self) -> String {
        match self.millionths {
            ALL if !self.service.contains(':') => self.service.clone(),
            millionths => format!("{}:{}%", self.service, f64::from(millionths) / 10_000.0),
        }
    }
}
