//! `[drain]`: how servers are let go.

use super::parse;
use super::reader::Section;
use crate::model::DrainRule;

pub(super) fn read(mut s: Section<'_>) -> DrainRule {
    let default = DrainRule::DEFAULT;
    let rule = DrainRule {
        linger: s.get_or("linger", default.linger, parse::duration),
        in_flight: s.get("in_flight", parse::duration),
        grace: s.get_or("grace", default.grace, parse::duration),
    };
    s.finish();
    rule
}
