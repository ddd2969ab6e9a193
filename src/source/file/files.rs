//! All files of the folder, decoded, and the union of what they say. Pure: documents in, a [`Change`] out.
//!
//! A file that went bad keeps its last good content; a service in two files is the union of both.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::document::Document;
use crate::model::{Change, Code, Issue, Policy, ServiceRecord};

/// What is known of the files, by name: as the system has it, two names may look the same to people.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<OsString, Known>,
}

/// One file.
#[derive(Debug, Default)]
struct Known {
    /// The last good content.
    good: Option<Document>,
    /// Why the present content is not the good one.
    bad: Option<String>,
}

impl Files {
    /// Takes in what was read; a file that is not `present` is gone. `None`: nothing changed.
    pub(super) fn update(
        &mut self,
        present: &BTreeSet<OsString>,
        read: BTreeMap<OsString, Result<Document, String>>,
    ) -> Option<Change> {
        let gone: Vec<OsString> = self
            .files
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        let touched = self.touched(&gone, &read);
        let before: Vec<_> = touched
            .into_iter()
            .map(|name| (self.record(&name), name))
            .collect();
        let stray = self.stray();
        for name in gone {
            self.files.remove(&name);
        }
        for (name, document) in read {
            let known = self.files.entry(name).or_default();
            match document {
                Ok(document) => {
                    *known = Known {
                        good: Some(document),
                        bad: None,
                    }
                }
                Err(reason) => known.bad = Some(reason),
            }
        }
        let services: Vec<_> = before
            .into_iter()
            .map(|(old, name)| (old, self.record(&name), name))
            .filter_map(|(old, new, name)| (old != new).then_some((name, new)))
            .collect();
        let new_stray = Some(self.stray()).filter(|new| *new != stray);
        (new_stray.is_some() || !services.is_empty()).then_some(Change {
            services,
            complete: false,
            stray: new_stray,
        })
    }

    /// All of it.
    pub(super) fn complete(&self) -> Change {
        let names: BTreeSet<&Arc<str>> = self.documents().flat_map(|(_, d)| d.services.keys()).collect();
        let services = names
            .into_iter()
            .map(|name| (name.clone(), self.record(name)))
            .collect();
        Change {
            services,
            complete: true,
            stray: Some(self.stray()),
        }
    }

    /// The services whose part in some file changes: the union is formed again for these only.
    fn touched(
        &self,
        gone: &[OsString],
        read: &BTreeMap<OsString, Result<Document, String>>,
    ) -> BTreeSet<Arc<str>> {
        let nothing = Document::default();
        let old = |name: &OsString| {
            self.files
                .get(name)
                .and_then(|k| k.good.as_ref())
                .unwrap_or(&nothing)
        };
        let mut touched = BTreeSet::new();
        for name in gone {
            touched.extend(old(name).services.keys().cloned());
        }
        for (name, new) in read
            .iter()
            .filter_map(|(name, new)| Some((name, new.as_ref().ok()?)))
        {
            let old = old(name);
            for (service, record) in old.services.iter().chain(&new.services) {
                if old.services.get(service) != Some(record) || new.services.get(service) != Some(record) {
                    touched.insert(service.clone());
                }
            }
        }
        touched
    }

    fn documents(&self) -> impl Iterator<Item = (&OsString, &Document)> {
        self.files
            .iter()
            .filter_map(|(name, known)| Some((name, known.good.as_ref()?)))
    }

    /// The union over all files, in the order of their names; the first one wins an id and a policy key.
    fn record(&self, service: &Arc<str>) -> Option<ServiceRecord> {
        let mut parts = self
            .documents()
            .filter_map(|(file, d)| Some((file, d.services.get(service)?)))
            .peekable();
        parts.peek()?;
        let mut union = ServiceRecord::default();
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for (file, part) in parts {
            for instance in &part.instances {
                let new = !ids.contains(&instance.id) && !places.contains(&instance.address);
                if new {
                    ids.insert(instance.id.clone());
                    places.insert(instance.address);
                    union.instances.push(instance.clone());
                } else {
                    let entry = format!("{}: services.{service}", shown(file));
                    let reason = format!(
                        "the instance `{}`, or its address {}, stands in another file too; left out here",
                        instance.id, instance.address
                    );
                    union.issues.push(Issue::rejected(entry, reason));
                }
            }
            union.policy = match (union.policy.take(), &part.policy) {
                (Some(first), Some(next)) => Some(Policy::over(first, next)),
                (first, next) => first.or_else(|| next.clone()),
            };
            union.issues.extend_from_slice(&part.issues);
        }
        union.instances.sort_by(|a, b| a.id.cmp(&b.id));
        Some(union)
    }

    fn stray(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        for (name, known) in &self.files {
            if let Some(good) = &known.good {
                issues.extend_from_slice(&good.stray);
            }
            issues.extend(match (&known.bad, &known.good) {
                (None, _) => None,
                (Some(reason), None) => Some(Issue::rejected(shown(name), reason)),
                (Some(reason), Some(_)) => Some(
                    Issue::warning(
                        shown(name),
                        format!("{reason}; its last good content is still served"),
                    )
                    .of_kind(Code::ValueKept),
                ),
            });
        }
        issues
    }
}

/// A name for messages.
pub(super) fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::document::{Syntax, read};
    use super::*;
    use crate::model::Severity;

    /// Files by name and JSON.
    fn update(files: &mut Files, contents: &[(&str, &str)]) -> Option<Change> {
        let present = contents.iter().map(|(name, _)| OsString::from(name)).collect();
        let document =
            |(name, json): &(&str, &str)| (OsString::from(name), read(name, Syntax::Json, json.as_bytes()));
        files.update(&present, contents.iter().map(document).collect())
    }

    fn one(service: &str, port: u16) -> String {
        format!(r#"{{"services":{{"{service}":{{"instances":[{{"address":"127.0.0.1","port":{port}}}]}}}}}}"#)
    }

    fn names(change: Option<Change>) -> Vec<String> {
        let services = change.into_iter().flat_map(|c| c.services);
        services
            .map(|(name, r)| format!("{name}{}", r.map_or(0, |r| r.instances.len())))
            .collect()
    }

    #[test]
    fn only_what_changed_is_delivered() {
        let mut files = Files::default();
        let (a, b) = (one("orders", 1), one("users", 2));
        assert_eq!(
            names(update(&mut files, &[("a", &a), ("b", &b)])),
            ["orders1", "users1"]
        );
        assert_eq!(update(&mut files, &[("a", &a), ("b", &b)]), None);
        assert_eq!(
            names(update(&mut files, &[("a", &a), ("b", &one("stock", 2))])),
            ["stock1", "users0"]
        );
        assert_eq!(names(update(&mut files, &[("b", &one("stock", 2))])), ["orders0"]);
        assert!(files.complete().complete);
    }

    #[test]
    fn a_service_in_two_files_is_the_union() {
        let mut files = Files::default();
        update(&mut files, &[("a", &one("orders", 1)), ("b", &one("orders", 2))]);
        assert_eq!(names(Some(files.complete())), ["orders2"]);
        let named = one("orders", 1).replace(r#""port""#, r#""id":"x","port""#);
        update(&mut files, &[("a", &one("orders", 1)), ("b", &named)]);
        assert_eq!(
            names(Some(files.complete())),
            ["orders1"],
            "the same address under another id"
        );
        update(&mut files, &[("a", &one("orders", 1)), ("b", &one("orders", 1))]);
        let record = files.record(&"orders".into()).unwrap();
        assert_eq!(
            (record.instances.len(), record.issues.len()),
            (1, 1),
            "{record:?}"
        );
        assert_eq!(
            names(update(&mut files, &[("b", &one("orders", 1))])),
            ["orders1"]
        );
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_content() {
        let mut files = Files::default();
        update(&mut files, &[("a.json", &one("orders", 1))]);
        let change = update(&mut files, &[("a.json", "{\n\n!"), ("b.json", "!")]).unwrap();
        assert_eq!(change.services, []);
        let stray = change.stray.unwrap();
        assert_eq!(
            (stray[0].severity, stray[1].severity),
            (Severity::Warning, Severity::Rejected)
        );
        assert!(stray[0].reason.starts_with("line 3:"), "{}", stray[0].reason);
        assert_eq!(names(Some(files.complete())), ["orders1"]);
        let repaired = update(&mut files, &[("a.json", &one("orders", 2))]).unwrap();
        assert_eq!(repaired.stray, Some(vec![]));
        assert_eq!(repaired.services.len(), 1);
    }
}
