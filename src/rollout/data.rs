//! Data that old code cannot read: who may get requests, and whether there is a way back. Pure.

use super::facts::{Facts, Instances};

/// Understands what is stored, as far as anybody has said what that is.
pub(super) fn can_read(version: &str, facts: &Facts) -> bool {
    let (Some(instances), Some(stored)) = (facts.versions.get(version), facts.data) else {
        return true;
    };
    instances.can_read(stored)
}

/// The stable version understands what the candidate writes.
pub(super) fn has_way_back(candidate: &str, stable: &str, facts: &Facts) -> bool {
    let written = facts.versions.get(candidate).and_then(|instances| instances.data);
    let reader = facts.versions.get(stable);
    written
        .zip(reader)
        .is_none_or(|(written, stable)| stable.can_read(written))
}

/// Whether there is a way back, in one sentence.
pub(super) fn way_back(candidate: &str, stable: &str, facts: &Facts) -> String {
    let of = |version: &str| facts.versions.get(version).cloned().unwrap_or_default();
    let (new, old) = (of(candidate), of(stable));
    match new.data {
        None => "the way back exists, as far as is declared".to_owned(),
        Some(written) if old.can_read(written) => {
            format!("the way back exists: the stable version reads data {written}, which it writes")
        }
        Some(written) => format!(
            "there is no way back once it has written: it writes data {written}, and the stable version reads {}",
            reads(&old)
        ),
    }
}

/// `11..12`
pub(super) fn reads(instances: &Instances) -> String {
    match (&instances.reads, instances.data) {
        (Some(reads), _) if reads.start() == reads.end() => format!("{} only", reads.start()),
        (Some(reads), _) => format!("{}..{}", reads.start(), reads.end()),
        (None, Some(data)) => format!("{data} only"),
        (None, None) => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(stored: Option<u32>, old: Instances, new: Instances) -> Facts {
        Facts {
            versions: [("a".into(), old), ("b".into(), new)].into(),
            data: stored,
            ..Facts::default()
        }
    }

    fn instances(data: Option<u32>, reads: Option<(u32, u32)>) -> Instances {
        Instances {
            data,
            reads: reads.map(|(from, to)| from..=to),
            ..Instances::default()
        }
    }

    #[test]
    fn who_declares_nothing_reads_everything() {
        let seen = facts(Some(12), instances(None, None), instances(Some(12), None));
        assert!(can_read("a", &seen) && can_read("b", &seen) && can_read("unknown", &seen));
        assert!(has_way_back("b", "a", &seen) && has_way_back("a", "b", &seen));
        let seen = facts(
            Some(12),
            instances(Some(11), None),
            instances(Some(12), Some((11, 12))),
        );
        assert!(!can_read("a", &seen) && can_read("b", &seen) && !has_way_back("b", "a", &seen));
        assert!(can_read(
            "a",
            &Facts {
                data: None,
                ..seen.clone()
            }
        ));
        assert!(has_way_back("a", "b", &seen));
        assert_eq!(
            way_back("b", "a", &seen),
            "there is no way back once it has written: it writes data 12, and the stable version reads 11 only"
        );
    }
}
