//! The last resort of an operator: fields of Envoy's own messages, `[[overlay]]`, laid over what was made. Pure, but for the
//! descriptors, which are read from the binary once.
//!
//! What does not fit costs the overlay alone: the resource is served as it was made.

mod canonical;
mod merge;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::model::overrides::fits;
use crate::model::{Code, Issue, Overlaid, Overlay};
use crate::render;
use crate::text::clip;
use crate::xds::{Draft, Kind, Update};

/// All overlays, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Overlays {
    all: Vec<Parsed>,
    /// Kept while there are any: some 15 MiB that take a while to load.
    pool: Option<Arc<DescriptorPool>>,
    /// By resource.
    issues: BTreeMap<(Kind, Arc<str>), Issue>,
    news: bool,
}

#[derive(Debug)]
struct Parsed {
    kind: Kind,
    name: String,
    patch: Value,
}

impl Parsed {
    fn fits(&self, draft: &Draft) -> bool {
        self.kind == draft.kind && fits(&self.name, &draft.name)
    }
}

const fn kind(of: Overlaid) -> Kind {
    match of {
        Overlaid::Cluster => Kind::Cluster,
        Overlaid::Listener => Kind::Listener,
    }
}

impl Overlays {
    /// With these, in their order.
    #[must_use]
    pub fn new(overlays: &[Overlay]) -> Self {
        let parsed = |overlay: &Overlay| {
            let patch = serde_json::from_str(&overlay.json).ok()?;
            Some(Parsed {
                kind: kind(overlay.of),
                name: overlay.name.clone(),
                patch,
            })
        };
        let all: Vec<Parsed> = overlays.iter().filter_map(parsed).collect();
        Self {
            pool: (!all.is_empty()).then(|| render::every_type().ok()).flatten(),
            all,
            ..Self::default()
        }
    }

    /// What is wrong with overlays, by resource.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.issues.values()
    }

    /// Whether [`Self::issues`] has changed since this was last asked.
    pub const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.news, false)
    }

    /// An update with what is laid over it.
    #[must_use]
    pub fn lay(&mut self, update: Update) -> Update {
        if self.all.is_empty() {
            return update;
        }
        match update {
            Update::Put(mut draft) => {
                let fitting: Vec<&Parsed> = self.all.iter().filter(|one| one.fits(&draft)).collect();
                let outcome = if fitting.is_empty() {
                    Ok(None)
                } else {
                    laid(self.pool.as_deref(), &draft, &fitting).map(Some)
                };
                let issue = match outcome {
                    Ok(body) => {
                        draft.body = body.unwrap_or(draft.body);
                        None
                    }
                    Err(reason) => Some(
                        Issue::warning(
                            &*draft.name,
                            format!(
                                "overlay of {} `{}` in bridge.toml: {reason}; it is served without",
                                draft.kind.short(),
                                clip(&draft.name)
                            ),
                        )
                        .of_kind(Code::OverlayRefused),
                    ),
                };
                self.note((draft.kind, draft.name.clone()), issue);
                Update::Put(draft)
            }
            Update::Remove(kind, name) => {
                self.note((kind, name.clone()), None);
                Update::Remove(kind, name)
            }
            other @ (Update::PutFor(..) | Update::RemoveFor(..)) => other,
        }
    }

    fn note(&mut self, of: (Kind, Arc<str>), issue: Option<Issue>) {
        if self.issues.get(&of) == issue.as_ref() {
            return;
        }
        self.news = true;
        match issue {
            Some(issue) => drop(self.issues.insert(of, issue)),
            None => drop(self.issues.remove(&of)),
        }
    }
}

/// The message with these patches, or why that is none.
fn laid(pool: Option<&DescriptorPool>, draft: &Draft, patches: &[&Parsed]) -> Result<Vec<u8>, String> {
    let pool = pool.ok_or("the descriptors of Envoy's messages do not load")?;
    let url = draft.kind.type_url();
    let name = url.rsplit('/').next().unwrap_or(url);
    let descriptor = pool.get_message_by_name(name).ok_or("no such type")?;
    let made = DynamicMessage::decode(descriptor.clone(), &*draft.body).map_err(|e| e.to_string())?;
    let mut json = made
        .serialize_with_options(serde_json::value::Serializer, &render::options())
        .map_err(|e| e.to_string())?;
    let own = json["name"].clone();
    for one in patches {
        merge::merge(&mut json, &one.patch);
    }
    if json["name"] != own {
        return Err("`name` cannot be another: others refer to it".to_owned());
    }
    let message = read(descriptor, &json)?;
    canonical::encode(&message).map_err(|e| e.to_string())
}

/// A message from JSON; an error names the place.
fn read(descriptor: MessageDescriptor, json: &Value) -> Result<DynamicMessage, String> {
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(json, &mut track);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor, reader, &options)
        .map_err(|e| format!("{}: {e}", track.path()))
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
