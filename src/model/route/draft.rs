//! A route while it is read: what its words have said so far. Pure.

use std::time::Duration;

use super::cors::Cors;
use super::criterion::Criterion;
use super::extras::{Extras, Target};
use super::headers::{HeaderChange, How, Side};
use super::instead::{Redirect, RedirectPath};
use super::matcher::Matcher;
use super::retry::Retry;
use super::rewrite::{NewHost, Rewrite, replaceable};
use crate::model::filters::Range;

/// A route while it is read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) hosts: Vec<String>,
    pub(super) matcher: Option<Matcher>,
    /// Of `sni=`.
    pub(super) names: Vec<String>,
    pub(super) terminate: bool,
    pub(super) criteria: Vec<Criterion>,
    pub(super) expose: Vec<String>,
    pub(super) priority: i32,
    pub(super) timeout: Option<Duration>,
    pub(super) stream_idle_timeout: Option<Duration>,
    pub(super) per_try_timeout: Option<Duration>,
    pub(super) max_stream_duration: Option<Duration>,
    pub(super) retry: Option<Retry>,
    pub(super) imported: Option<&'static str>,
    pub(super) extras: Extras,
    /// Of a redirect, before it is known to be one.
    pub(super) code: Option<u16>,
    pub(super) drop_query: bool,
}

impl Draft {
    pub(super) fn only(&mut self, matcher: Matcher) -> Result<(), String> {
        match self.matcher.replace(matcher) {
            None => Ok(()),
            Some(_) => Err(
                "a route has one `path=`, `exact=`, `regex=`, `grpc=`, `port=` or `sni=`; use route-2 for another"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn criterion(&mut self, criterion: Result<Criterion, String>) -> Result<(), String> {
        criterion.map(|criterion| self.criteria.push(criterion))
    }

    pub(super) fn target(&mut self, target: Target) -> Result<(), String> {
        match std::mem::replace(&mut self.extras.target, target) {
            Target::Itself => Ok(()),
            _ => Err("a route has one `split=`, `version=`, `redirect=` or `respond=`".to_owned()),
        }
    }

    pub(super) fn header(&mut self, of: Side, how: How, text: &str) -> Result<(), String> {
        HeaderChange::parse(of, how, text).map(|change| self.extras.headers.push(change))
    }

    pub(super) fn clients(&mut self, word: &str, text: &str) -> Result<(), String> {
        let all = Range::parse_all(text).map_err(|why| format!("`{word}=`: {why}"))?;
        let clients = self.extras.clients.get_or_insert_default();
        let list = if word == "allow-ips" {
            &mut clients.allow
        } else {
            &mut clients.deny
        };
        *list = all;
        Ok(())
    }

    pub(super) fn rewrite(&mut self, rewrite: Rewrite) -> Result<(), String> {
        match self.extras.rewrite.replace(rewrite) {
            None => Ok(()),
            Some(_) => Err("a route has one `rewrite=` or one `regex-rewrite=`".to_owned()),
        }
    }

    pub(super) fn cors(&mut self) -> &mut Cors {
        self.extras.cors.get_or_insert_default()
    }

    /// What is wrong with all words together, and the parts of one that stood in several.
    pub(super) fn settle(&mut self, matcher: &Matcher) -> Result<(), String> {
        let (code, drop_query) = (self.code, self.drop_query);
        match &mut self.extras.target {
            Target::Redirect(redirect) => {
                redirect.code = code;
                redirect.drop_query = drop_query;
            }
            _ if code.is_some() || drop_query => {
                return Err("`redirect-code=` and `redirect-query=` need `redirect=`".to_owned());
            }
            _ => {}
        }
        if let Some(cors) = &self.extras.cors {
            cors.check()?;
        }
        let is_split = matches!(self.extras.target, Target::Split(_));
        if is_split && self.extras.host_rewrite == Some(NewHost::Server) {
            return Err(
                "`host-rewrite=*` is of the service's own servers, and not of those of `split=`".to_owned(),
            );
        }
        if let Some(rewrite) = &self.extras.rewrite {
            rewrite.fits(matcher)?;
        }
        if let Target::Redirect(Redirect {
            path: Some(RedirectPath::Matched(by)),
            ..
        }) = &self.extras.target
        {
            if matches!(matcher, Matcher::Regex(_)) {
                return Err("`redirect=` with a * at its end needs `path=` or `exact=`".to_owned());
            }
            replaceable(matcher, by)?;
        }
        Ok(())
    }
}
