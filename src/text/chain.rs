//! An error and its causes on one line.

use std::error::Error;
use std::iter::successors;

/// The error, then what caused it, then what caused that.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}

/// An error with all its causes, on one line. Some errors repeat their cause: one mention is enough.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in causes(error) {
        let part = error.to_string();
        if text.is_empty() {
            text = part;
        } else if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, source }
    }

    #[test]
    fn each_cause_is_named_once() {
        assert_eq!(chain(&layers(&["reading a", "refused"])), "reading a: refused");
        assert_eq!(
            chain(&layers(&["reading a: refused", "refused", "by b"])),
            "reading a: refused: by b"
        );
        assert_eq!(chain(&layers(&["alone"])), "alone");
        assert_eq!(causes(&layers(&["a", "b", "c"])).count(), 3);
    }
}
