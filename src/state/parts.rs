//! What a bridge has counted, cut into texts that each fit into one key. Pure.

use super::counted::Counted;
use super::document::text;
use crate::registry::store::MAX_VALUE;

/// Parts of what one bridge has counted: what finds no room in them is not shared.
pub(super) const MAX_PARTS: usize = 8;

/// Texts of what a bridge has counted, each with room in one key; how many services find none.
#[must_use]
pub(super) fn parts(counted: &Counted) -> (Vec<String>, usize) {
    let (mut parts, mut left) = (Vec::new(), 0);
    let mut part = Counted::default();
    let mut size = text(&part).len();
    for (name, service) in &counted.services {
        let one = serde_json::to_string(&(name, service)).unwrap_or_default().len();
        if size + one > MAX_VALUE && !part.services.is_empty() {
            parts.push(text(&std::mem::take(&mut part)));
            size = text(&part).len();
        }
        if size + one > MAX_VALUE || parts.len() >= MAX_PARTS {
            left += 1;
            continue;
        }
        size += one;
        part.services.insert(name.clone(), service.clone());
    }
    if !part.services.is_empty() {
        parts.push(text(&part));
    }
    (parts, left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Count, Stratum};
    use crate::state::counted::Service;

    fn service(versions: usize) -> Service {
        let count = Count {
            ok: u64::MAX,
            errors: u64::MAX,
            ..Count::default()
        };
        let version = |n: usize| (format!("version-{n}").into(), [(Stratum::Envoy, count)].into());
        Service {
            since: 1,
            at: 1,
            reporting: 2,
            silent: 0,
            versions: (0..versions).map(version).collect(),
        }
    }

    #[test]
    fn what_is_counted_is_cut_into_parts_that_fit_and_the_rest_is_counted() {
        assert_eq!(parts(&Counted::default()), (Vec::new(), 0));
        let few = Counted {
            services: [("orders".into(), service(2))].into(),
        };
        let (texts, left) = parts(&few);
        assert_eq!((texts.len(), left), (1, 0));
        assert_eq!(serde_json::from_str::<Counted>(&texts[0]).unwrap(), few);

        let many = Counted {
            services: (0..1_000)
                .map(|n| (format!("service-{n}").into(), service(9)))
                .collect(),
        };
        let (texts, left) = parts(&many);
        assert!(texts.iter().all(|text| text.len() <= MAX_VALUE));
        let read = texts
            .iter()
            .map(|text| serde_json::from_str::<Counted>(text).unwrap().services.len());
        assert_eq!((texts.len(), read.sum::<usize>() + left), (MAX_PARTS, 1_000));

        let huge = Counted {
            services: [("a".into(), service(1_000)), ("b".into(), service(1))].into(),
        };
        let (texts, left) = parts(&huge);
        assert_eq!((texts.len(), left), (1, 1), "one that is too large costs itself");
        assert!(texts[0].contains("\"b\""));
    }
}
