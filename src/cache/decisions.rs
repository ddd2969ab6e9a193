//! What was decided between services, on disk: what the instances of each declared together, which of them are
//! gone and since when, and who has which requests. A bridge that begins comes to the same decisions by it.
//!
//! Absent or refused it costs nothing but that: who was registered first decides then. How it looks on disk is in
//! `body`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::body::Body;
use super::format2;
use super::schema::Keys;
use super::text::{Unsealed, sealed, unsealed};
use super::{CacheError, replace, text_of};
use crate::clock;
use crate::model::Policy;
use crate::model::service::check_name;
use crate::plan::Decisions;
use crate::text::clip;

/// What the head of the file says of its content.
const WHAT: (&str, &str) = ("decisions", "all sources");

/// The file.
#[must_use]
pub fn decisions_file(folder: &Path) -> PathBuf {
    folder.join("decisions")
}

/// What was decided before; nothing when there is no file, or one that is refused, which is logged.
#[must_use]
pub fn load_decisions(folder: &Path) -> Decisions {
    let path = decisions_file(folder);
    match text_of(&path).and_then(|text| decode(&text, clock::unix_seconds())) {
        Ok(decisions) => decisions,
        Err(CacheError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(
                path = %path.display(),
                "no decisions of before: of services that claim the same requests the one registered first has them"
            );
            Decisions::default()
        }
        Err(error) => {
            let error = crate::text::chain(&error);
            tracing::warn!(
                path = %path.display(), error,
                "decisions of before are not used: of services that claim the same requests the one registered \
                 first has them"
            );
            Decisions::default()
        }
    }
}

pub(super) fn store(folder: &Path, decisions: &Decisions) -> Result<(), CacheError> {
    let text = encode(decisions, clock::unix_seconds())?;
    replace(folder, &decisions_file(folder), &text)
}

pub(super) fn encode(decisions: &Decisions, written: u64) -> Result<String, CacheError> {
    let body = serde_json::to_string(&Body::of(decisions)).map_err(|e| CacheError::Damaged(e.to_string()))?;
    sealed(WHAT.0, WHAT.1, written, &body)
}

/// What a file says, `now`: seconds since 1970.
///
/// # Errors
/// [`CacheError`]
pub fn decode(text: &str, now: u64) -> Result<Decisions, CacheError> {
    let damaged = |what: &str| CacheError::Damaged(clip(what));
    let Unsealed {
        format,
        written,
        body,
    } = unsealed(text, WHAT.0, WHAT.1)?;
    let read = if format == format2::FORMAT {
        serde_json::from_str(body).map(|body: Body<format2::Policy>| body.read(Policy::from))
    } else {
        serde_json::from_str(body).map(|body: Body<Keys>| body.read(|keys| keys.policy()))
    };
    let mut decisions = read.map_err(|e| damaged(&e.to_string()))?;
    let age = Duration::from_secs(now.saturating_sub(written));
    for (name, known) in &mut decisions.services {
        check_name(name).map_err(|reason| damaged(&reason))?;
        known.left_ago = known.left_ago.map(|ago| ago.saturating_add(age));
    }
    Ok(decisions)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Holder, Paths, Requests, RouteRule};
    use crate::plan::Remembered;

    fn decisions() -> Decisions {
        let policy = Policy {
            routes: [(1, RouteRule::parse("path=/api/cart/").unwrap())].into(),
            ..Policy::default()
        };
        let cart = Remembered {
            elected: Arc::new(policy.clone()),
            policy: Some(Arc::default()),
            left_ago: Some(Duration::from_secs(7)),
        };
        let requests = Requests {
            host: "*".into(),
            paths: Paths::Segments("/api/cart".into()),
            criteria: RouteRule::parse("path=/ header=x:1 header=!y query=z")
                .unwrap()
                .criteria,
        };
        let holder = Holder {
            service: "cart".into(),
            others: vec!["basket".into()],
        };
        Decisions {
            services: [("cart".into(), cart), ("web".into(), Remembered::default())].into(),
            holders: [("internal".into(), [(requests, holder)].into())].into(),
            names: Some([("cart@2".into(), "cart".into())].into()),
        }
    }

    #[test]
    fn what_was_decided_is_read_with_the_time_that_has_passed() {
        let text = encode(&decisions(), 1_000).unwrap();
        assert_eq!(decode(&text, 1_000).unwrap(), decisions());
        assert_eq!(
            decode(&text, 900).unwrap(),
            decisions(),
            "a clock that was set back"
        );
        let later = decode(&text, 1_053).unwrap();
        assert_eq!(later.services["cart"].left_ago, Some(Duration::from_secs(60)));
        assert_eq!(later.services["web"].left_ago, None);
    }

    #[test]
    fn a_file_of_an_earlier_version_says_nothing_of_names() {
        let text = encode(
            &Decisions {
                names: None,
                ..decisions()
            },
            1_000,
        )
        .unwrap();
        assert!(!text.contains("names"), "{text}");
        assert_eq!(decode(&text, 1_000).unwrap().names, None);
    }

    #[test]
    fn what_is_damaged_or_absent_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_decisions(folder.path()), Decisions::default());
        store(folder.path(), &decisions()).unwrap();
        assert_eq!(load_decisions(folder.path()).services.len(), 2);
        let text = std::fs::read_to_string(decisions_file(folder.path())).unwrap();
        for (from, to) in [("cart", "card"), ("\n", " "), ("decisions", "etcd")] {
            assert!(decode(&text.replacen(from, to, 1), 1_000).is_err(), "{from}");
        }
        for cut in [0, text.len() / 2, text.len() - 1] {
            std::fs::write(decisions_file(folder.path()), &text[..cut]).unwrap();
            assert_eq!(load_decisions(folder.path()), Decisions::default(), "{cut}");
        }
        std::fs::remove_file(decisions_file(folder.path())).unwrap();
        std::fs::create_dir(decisions_file(folder.path())).unwrap();
        assert_eq!(load_decisions(folder.path()), Decisions::default());
        assert!(store(folder.path(), &decisions()).is_err());
    }
}
