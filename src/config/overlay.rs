//! `[[overlay]]`.

use super::parse;
use super::reader::Section;
use crate::model::overrides::pattern;
use crate::model::{Overlaid, Overlay};

const WORDS: [(&str, Overlaid); 2] = [("cluster", Overlaid::Cluster), ("listener", Overlaid::Listener)];

/// The longest of one, bytes.
const MAX: usize = 64 << 10;

pub(super) fn read(root: &mut Section<'_>) -> Vec<Overlay> {
    let tables = root.tables("overlay").into_iter();
    tables.filter_map(one).collect()
}

/// `None` only beside a mistake.
fn one(mut s: Section<'_>) -> Option<Overlay> {
    let of = s.need("type", "\"cluster\"", parse::word(&WORDS));
    let name = s.need("name", "\"orders\" or \"orders*\"", |text| {
        pattern(text).map(|()| text.to_owned())
    });
    let json = s.need("json", "'{\"connect_timeout\": \"3s\"}'", |text| {
        if text.len() > MAX {
            return Err(format!("has more than {MAX} bytes"));
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(serde_json::Value::Object(_)) => Ok(text.to_owned()),
            Ok(_) => Err("must be a JSON object, '{ … }'".to_owned()),
            Err(e) => Err(format!("is no JSON: {e}")),
        }
    });
    s.finish();
    Some(Overlay {
        of: of?,
        name: name?,
        json: json?,
    })
}
