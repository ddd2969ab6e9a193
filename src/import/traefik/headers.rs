//! The middleware `headers`: names that are set and removed, and CORS. Pure.

use super::tags::list;
use crate::import::regex::percent;

type Word = (&'static str, String);

/// The words of a route, and the options that have none.
///
/// # Errors
/// An option that protects.
pub(super) fn headers<'a>(
    options: impl Iterator<Item = (&'a str, &'a String)>,
    tls: bool,
) -> Result<(Vec<Word>, Vec<String>), String> {
    let (mut words, mut ignored): (Vec<Word>, Vec<String>) = Default::default();
    let mut sts = Sts::default();
    let mut cors: Vec<Word> = Vec::new();
    let (mut origins, mut vary) = (false, false);
    for (option, value) in options {
        let on = value == "true";
        let mut response =
            |name: &str, value: &str| words.push(("set-response-header", format!("{name}:{value}")));
        match option.split_once('.').unwrap_or((option, "")) {
            ("customrequestheaders", "host") if !value.is_empty() => {
                words.push(("host-rewrite", value.clone()));
            }
            ("customrequestheaders", name) => {
                words.push(changed(("set-header", "remove-header"), name, value));
            }
            ("customresponseheaders", name) => {
                words.push(changed(
                    ("set-response-header", "remove-response-header"),
                    name,
                    value,
                ));
            }
            ("framedeny", "") if on => response("x-frame-options", "DENY"),
            ("customframeoptionsvalue", "") => response("x-frame-options", &percent(value)),
            ("contenttypenosniff", "") if on => response("x-content-type-options", "nosniff"),
            ("browserxssfilter", "") if on => response("x-xss-protection", "1; mode=block"),
            ("custombrowserxssvalue", "") => response("x-xss-protection", &percent(value)),
            ("contentsecuritypolicy", "") => response("content-security-policy", &percent(value)),
            ("contentsecuritypolicyreportonly", "") => {
                response("content-security-policy-report-only", &percent(value));
            }
            ("referrerpolicy", "") => response("referrer-policy", &percent(value)),
            ("permissionspolicy", "") => response("permissions-policy", &percent(value)),
            ("stsseconds", "") => sts.seconds = value.parse().unwrap_or(0),
            ("stsincludesubdomains", "") => sts.subdomains = on,
            ("stspreload", "") => sts.preload = on,
            ("forcestsheader", "") => sts.forced = on,
            ("accesscontrolalloworiginlist", "") => {
                origins = true;
                cors.push(("cors", list(value).join(",")));
            }
            ("accesscontrolallowmethods", "") => cors.push(("cors-methods", list(value).join(","))),
            ("accesscontrolallowheaders", "") => cors.push(("cors-headers", list(value).join(","))),
            ("accesscontrolexposeheaders", "") => cors.push(("cors-expose", list(value).join(","))),
            ("accesscontrolmaxage", "") => cors.push(("cors-max-age", format!("{value}s"))),
            ("accesscontrolallowcredentials", "") if on => cors.push(("cors-credentials", "true".to_owned())),
            ("addvaryheader", "") => vary = on,
            ("allowedhosts", _) => {
                return Err("headers.allowedHosts protects, and is not possible here".to_owned());
            }
            _ if value == "false" => {}
            (option, _) => ignored.push(option.to_owned()),
        }
    }
    words.extend(sts.word(tls));
    if origins {
        words.extend(cors);
        words.extend(vary.then(|| ("add-response-header", "vary:Origin".to_owned())));
    } else if !cors.is_empty() {
        ignored.push("accesscontrol… without origins".to_owned());
    }
    Ok((words, ignored))
}

fn changed((set, remove): (&'static str, &'static str), name: &str, value: &str) -> Word {
    match value {
        "" => (remove, name.to_owned()),
        value => (set, format!("{name}:{}", percent(value))),
    }
}

/// `Strict-Transport-Security`
#[derive(Default)]
struct Sts {
    seconds: u64,
    subdomains: bool,
    preload: bool,
    forced: bool,
}

impl Sts {
    fn word(&self, tls: bool) -> Option<Word> {
        if self.seconds == 0 || !(tls || self.forced) {
            return None;
        }
        let mut value = format!("max-age={}", self.seconds);
        if self.subdomains {
            value += "; includeSubDomains";
        }
        if self.preload {
            value += "; preload";
        }
        Some((
            "set-response-header",
            format!("strict-transport-security:{value}"),
        ))
    }
}
