//! `import = ["traefik", "fabio"]` of a Consul source: tags of these programs that are read beside our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::parse;
use super::super::reader::Section;
use crate::text::expression::{Expression, Function};

/// Whose tags are read, and how these programs were set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// `[sources.NAME.traefik]`
    pub traefik: Option<TraefikImport>,
    /// `[sources.NAME.fabio]`
    pub fabio: Option<FabioImport>,
    /// Keys of these programs, by the `kv` of each.
    pub keys: Vec<KeysOf>,
}

/// Keys that another program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysOf {
    /// `[sources.NAME.traefik]` with `kv`: routers and services below a root.
    Traefik(Arc<TraefikImport>),
    /// `[sources.NAME.fabio]` with `kv`: commands in one key, and in those below it.
    Fabio(Arc<FabioImport>),
}

impl KeysOf {
    /// What all of them begin with.
    #[must_use]
    pub fn root(&self) -> &str {
        let root = match self {
            Self::Traefik(settings) => &settings.kv,
            Self::Fabio(settings) => &settings.kv,
        };
        root.as_deref().unwrap_or_default()
    }

    /// The program.
    #[must_use]
    pub const fn program(&self) -> &'static str {
        match self {
            Self::Traefik(_) => "traefik",
            Self::Fabio(_) => "fabio",
        }
    }
}

/// Settings of Traefik's provider `consulCatalog`, by the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraefikImport {
    /// What tags begin with, without the dot after it.
    pub prefix: String,
    /// Instances without `enable` are read.
    pub exposed_by_default: bool,
    /// The rule of a service that declares no router; `{{ normalize .Name }}` stands for its name.
    pub default_rule: String,
    /// Only instances whose tags fulfil it.
    pub constraints: Option<Expression>,
    /// Which checks an instance may have, by the worst of them.
    pub strict_checks: Vec<Check>,
    /// Entry points, and the exposures that take their place; none: each is `internal`.
    pub entry_points: BTreeMap<String, Vec<String>>,
    /// Those whose listeners speak TLS.
    pub tls_entry_points: Vec<String>,
    /// The root of its keys, which ends with a slash; `None`: keys are not read.
    pub kv: Option<String>,
}

impl Default for TraefikImport {
    fn default() -> Self {
        Self {
            prefix: "traefik".to_owned(),
            exposed_by_default: true,
            default_rule: "Host(`{{ normalize .Name }}`)".to_owned(),
            constraints: None,
            strict_checks: vec![Check::Passing, Check::Warning],
            entry_points: BTreeMap::new(),
            tls_entry_points: Vec::new(),
            kv: None,
        }
    }
}

/// Settings of fabio, by the ends of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabioImport {
    /// What tags begin with.
    pub prefix: String,
    /// How the path of a tag is compared.
    pub matcher: FabioMatcher,
    /// Hosts are patterns.
    pub glob: bool,
    /// What an instance may be.
    pub status: Vec<Check>,
    /// One check of these is enough; else all must be.
    pub one: bool,
    /// The exposures where its routes are.
    pub expose: Vec<String>,
    /// The key of its commands, without a slash at its end; `None`: they are not read.
    pub kv: Option<String>,
}

impl Default for FabioImport {
    fn default() -> Self {
        Self {
            prefix: "urlprefix-".to_owned(),
            matcher: FabioMatcher::Prefix,
            glob: true,
            status: vec![Check::Passing],
            one: false,
            expose: vec!["internal".to_owned()],
            kv: None,
        }
    }
}

/// `proxy.matcher`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FabioMatcher {
    /// It begins the path of a request.
    Prefix,
    /// The same, whatever the case of letters.
    IgnoringCase,
    /// It is a pattern.
    Glob,
}

/// The status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `passing`
    Passing,
    /// `warning`
    Warning,
    /// `critical`
    Critical,
}

const CHECKS: &[(&str, Check)] = &[
    ("passing", Check::Passing),
    ("warning", Check::Warning),
    ("critical", Check::Critical),
];

/// The settings of one program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Traefik,
    Fabio,
}

pub(super) fn read(s: &mut Section<'_>) -> Import {
    let words = parse::word(&[("traefik", Program::Traefik), ("fabio", Program::Fabio)]);
    let wanted = s.list("import", words).unwrap_or_default();
    let mut import = Import::default();
    for (program, key) in [(Program::Traefik, "traefik"), (Program::Fabio, "fabio")] {
        let is_wanted = wanted.contains(&program);
        let is_there = s.has(key);
        let mut section = s.section(key);
        if is_there && !is_wanted && !section.has("kv") {
            s.mistake(
                key,
                format!(
                    "needs import = [\"{key}\"]: without it no such tags are read, and without kv no keys"
                ),
            );
        }
        match program {
            Program::Traefik => {
                let traefik = traefik(&mut section);
                import.keys.extend(traefik_keys(&traefik));
                import.traefik = is_wanted.then_some(traefik);
            }
            Program::Fabio => {
                let fabio = fabio(&mut section);
                import.keys.extend(fabio_keys(&fabio));
                import.fabio = is_wanted.then_some(fabio);
            }
        }
        section.finish();
    }
    import
}

/// `[sources.NAME.traefik]` and `[sources.NAME.fabio]` of etcd: the keys of these programs, where `kv` names them.
pub(super) fn keys(s: &mut Section<'_>) -> Vec<KeysOf> {
    let mut all = Vec::new();
    let mut one = |name: &'static str, missing: &str, read: fn(&mut Section<'_>) -> Option<KeysOf>| {
        let is_there = s.has(name);
        let mut section = s.section(name);
        if is_there && !section.has("kv") {
            section.mistake("kv", missing);
        }
        let keys = read(&mut section);
        section.finish();
        all.extend(keys);
    };
    one(
        "traefik",
        "is missing: the root of Traefik's keys, kv = \"traefik\"",
        |s| traefik_keys(&entry_points(s, TraefikImport::default())),
    );
    one(
        "fabio",
        "is missing: the key of fabio's commands, kv = \"fabio/config\"",
        |s| fabio_keys(&of_routes(s, FabioImport::default())),
    );
    all
}

/// Messages name a key as it is written.
fn traefik_keys(import: &TraefikImport) -> Option<KeysOf> {
    let prefix = import.kv.as_ref()?.trim_end_matches('/').to_owned();
    let import = import.clone();
    Some(KeysOf::Traefik(Arc::new(TraefikImport { prefix, ..import })))
}

fn fabio_keys(import: &FabioImport) -> Option<KeysOf> {
    import
        .kv
        .is_some()
        .then(|| KeysOf::Fabio(Arc::new(import.clone())))
}

fn traefik(s: &mut Section<'_>) -> TraefikImport {
    let default = TraefikImport::default();
    let import = TraefikImport {
        prefix: s.get_or("prefix", default.prefix, parse::text),
        exposed_by_default: s.get_or("exposed_by_default", default.exposed_by_default, parse::switch),
        default_rule: s.get_or("default_rule", default.default_rule, default_rule),
        constraints: s.get("constraints", constraints),
        strict_checks: s
            .list("strict_checks", parse::word(CHECKS))
            .unwrap_or(default.strict_checks),
        ..default
    };
    entry_points(s, import)
}

fn entry_points(s: &mut Section<'_>, import: TraefikImport) -> TraefikImport {
    let import = TraefikImport {
        entry_points: s
            .lists("entry_points", |name| Ok(name.to_owned()), exposure)
            .into_iter()
            .collect(),
        tls_entry_points: s.list("tls_entry_points", parse::text).unwrap_or_default(),
        kv: s.get("kv", |text| root(text, "traefik").map(|root| format!("{root}/"))),
        ..import
    };
    let unknown = |name: &&String| !import.entry_points.contains_key(*name);
    if let Some(name) = import.tls_entry_points.iter().find(unknown) {
        s.mistake("tls_entry_points", format!("`{name}` is not one of entry_points"));
    }
    import
}

/// Without slashes around it.
fn root(text: &str, usual: &str) -> Result<String, String> {
    match text.trim_matches('/') {
        "" => Err(format!(
            "must not be empty, which is all keys; its own is {usual}"
        )),
        root => Ok(root.to_owned()),
    }
}

fn fabio(s: &mut Section<'_>) -> FabioImport {
    let default = FabioImport::default();
    // Envoy takes turns in each case.
    s.get("strategy", parse::word(&[("rnd", ()), ("rr", ())]));
    let import = FabioImport {
        prefix: s.get_or("prefix", default.prefix, parse::text),
        status: s.list("status", parse::word(CHECKS)).unwrap_or(default.status),
        one: s.get_or(
            "checks",
            default.one,
            parse::word(&[("all", false), ("one", true)]),
        ),
        ..FabioImport::default()
    };
    of_routes(s, import)
}

/// What routes of tags and of commands have in common.
fn of_routes(s: &mut Section<'_>, import: FabioImport) -> FabioImport {
    let matchers = parse::word(&[
        ("prefix", FabioMatcher::Prefix),
        ("iprefix", FabioMatcher::IgnoringCase),
        ("glob", FabioMatcher::Glob),
    ]);
    FabioImport {
        matcher: s.get_or("matcher", import.matcher, matchers),
        glob: s.get_or("glob", import.glob, parse::switch),
        expose: s.list("expose", exposure).unwrap_or(import.expose),
        kv: s.get("kv", |text| root(text, "fabio/config")),
        ..import
    }
}

fn exposure(text: &str) -> Result<String, String> {
    parse::is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is not the name of an exposure: 1 to 64 of a-z, 0-9, - and _"))
}

/// Of Traefik's template language only what stands for the name.
fn default_rule(text: &str) -> Result<String, String> {
    let rest = NAMES
        .iter()
        .fold(text.to_owned(), |rest, name| rest.replace(name, "x"));
    if rest.contains("{{") || Expression::parse(&rest).is_err() {
        return Err(format!(
            "`{text}` must be a rule of Traefik, in which {} stand for the service",
            NAMES.join(" and ")
        ));
    }
    Ok(text.to_owned())
}

/// What stands for the name of a service in `default_rule`; the first as a part of a host.
pub const NAMES: [&str; 2] = ["{{ normalize .Name }}", "{{ .Name }}"];

fn constraints(text: &str) -> Result<Expression, String> {
    let expression = Expression::parse(text)?;
    let known = |function: &Function| function.name == "Tag" && function.arguments.len() == 1;
    if !expression.functions().into_iter().all(known) {
        return Err(format!(
            "`{text}` must be made of Tag(`NAME`), !, &&, || and parentheses"
        ));
    }
    Ok(expression)
}
