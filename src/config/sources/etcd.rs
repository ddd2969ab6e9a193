//! `kind = "etcd"`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::formats::{self, Format, Formats, Value};
use super::super::parse;
use super::super::reader::Section;
use super::{ClientTls, KeysOf, guard, import, tls};
use crate::model::GuardRule;

/// `kind = "etcd"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSource {
    /// Members, `http://host:port`; tried in turn, never balanced over.
    pub endpoints: Vec<String>,
    /// What is watched, at least one; none lies within another.
    pub prefixes: Vec<EtcdPrefix>,
    /// Who we are, where etcd has users.
    pub login: Option<EtcdLogin>,
    /// `[sources.NAME.tls]`
    pub tls: Option<ClientTls>,
    /// `max_removal`, `max_removal_hold`, `guard_probe`
    pub guard: GuardRule,
}

impl EtcdSource {
    /// One prefix in the `native` format, and the defaults of everything else.
    #[must_use]
    pub fn new(endpoints: Vec<String>, prefix: &str) -> Self {
        Self {
            endpoints,
            prefixes: vec![EtcdPrefix::native(prefix)],
            login: None,
            tls: None,
            guard: GuardRule::default(),
        }
    }

    /// Identifies the cluster and what is read of it, so that a cached state of another one is not used.
    #[must_use]
    pub fn registry(&self) -> String {
        let mut members = self.endpoints.clone();
        members.sort();
        let prefixes: Vec<String> = self.prefixes.iter().map(ToString::to_string).collect();
        format!("etcd {} {}", members.join(","), prefixes.join(","))
    }
}

/// Keys that are watched, and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdPrefix {
    /// Ends with `/`: `/services/` never sees `/services2/`; that of fabio's commands is a key.
    pub prefix: String,
    /// How keys and values are laid out there; never guessed.
    pub format: Arc<Format>,
    /// They are those of another program instead.
    pub keys: Option<KeysOf>,
}

impl EtcdPrefix {
    /// A prefix in our own format.
    #[must_use]
    pub fn native(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            format: Arc::new(Format::native()),
            keys: None,
        }
    }
}

impl fmt::Display for EtcdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keys) = &self.keys {
            return write!(f, "{} ({})", self.prefix, keys.program());
        }
        match &*self.format.name {
            "native" => f.write_str(&self.prefix),
            name => write!(f, "{} ({name})", self.prefix),
        }
    }
}

/// `user`, `password_file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdLogin {
    /// etcd's name of us.
    pub user: String,
    /// Holds the password and nothing else; read again at each login.
    pub password_file: PathBuf,
}

pub(super) fn read(s: &mut Section<'_>, base: &Path, formats: &Formats) -> Option<EtcdSource> {
    let missing = "at least one is needed, endpoints = [\"http://127.0.0.1:2379\"]";
    let endpoints = s.need_list("endpoints", missing, parse::base_url);
    let prefixes = all_prefixes(s, formats);
    let login = login(s, base);
    let https = endpoints.iter().flatten().any(|e| e.starts_with("https:"));
    let tls = tls::read(s, base, https);
    let guard = guard(s);
    Some(EtcdSource {
        endpoints: endpoints?,
        prefixes: prefixes?,
        login,
        tls,
        guard,
    })
}

/// Those of services, and those of other programs.
fn all_prefixes(s: &mut Section<'_>, formats: &Formats) -> Option<Vec<EtcdPrefix>> {
    let programs = import::keys(s);
    if programs.is_empty() {
        return prefixes(s, formats);
    }
    let only = !["prefix", "format", "prefixes"].iter().any(|key| s.has(key));
    let mut all = if only { Vec::new() } else { prefixes(s, formats)? };
    for keys in programs {
        let program = keys.program();
        let new = EtcdPrefix {
            keys: Some(keys.clone()),
            ..EtcdPrefix::native(keys.root())
        };
        if let Some(old) = all.iter().find(|old| overlap(old, &new)) {
            let text = format!(
                "kv: `{}` overlaps `{}`: a key would be read twice",
                new.prefix, old.prefix
            );
            s.mistake(program, text);
        }
        all.push(new);
    }
    Some(all)
}

/// One, as `prefix`, or several, as `[[prefixes]]`. `None` only beside a mistake.
fn prefixes(s: &mut Section<'_>, formats: &Formats) -> Option<Vec<EtcdPrefix>> {
    if !s.has("prefixes") {
        s.tables("prefixes"); // none, and the key is known
        return Some(vec![prefix(s, formats)?]);
    }
    for key in ["prefix", "format"] {
        if s.has(key) {
            s.mistake(
                key,
                "belongs into the tables of [[prefixes]], where there are any",
            );
            s.get(key, |_| Ok(()));
        }
    }
    let tables = s.tables("prefixes");
    if tables.is_empty() {
        s.mistake(
            "prefixes",
            "at least one is needed, [[prefixes]] with prefix = \"/services/\"",
        );
        return None;
    }
    let mut read: Vec<EtcdPrefix> = Vec::new();
    let mut whole = true;
    for mut table in tables {
        match prefix(&mut table, formats) {
            Some(new) => {
                if let Some(old) = read.iter().find(|old| overlap(old, &new)) {
                    let text = format!(
                        "`{}` overlaps `{}`: a key would be read twice",
                        new.prefix, old.prefix
                    );
                    table.mistake("prefix", text);
                }
                read.push(new);
            }
            None => whole = false,
        }
        table.finish();
    }
    whole.then_some(read)
}

fn overlap(a: &EtcdPrefix, b: &EtcdPrefix) -> bool {
    a.prefix.starts_with(&b.prefix) || b.prefix.starts_with(&a.prefix)
}

/// `format`, and `prefix`, which some formats usually have. `None` only beside a mistake.
fn prefix(s: &mut Section<'_>, formats: &Formats) -> Option<EtcdPrefix> {
    let native = Arc::new(Format::native());
    let format = s.get_or("format", Some(native), |name| formats.find(name));
    let all = format.as_ref().is_none_or(|f| f.value != Value::Native);
    let (given, usual) = (s.has("prefix"), format.as_ref().and_then(|f| f.prefix.clone()));
    let prefix = s.get("prefix", |text| match formats::prefix(text)? {
        prefix if prefix.is_empty() && !all => {
            Err("must not be empty, which is all keys of this etcd; for example /services/".to_owned())
        }
        prefix => Ok(prefix),
    });
    if let (false, None, Some(format)) = (given, &usual, &format) {
        let text = format!(
            "is missing, and `{}` has no usual one; for example prefix = \"/services/\"",
            format.name
        );
        s.mistake("prefix", text);
    }
    Some(EtcdPrefix {
        prefix: if given { prefix } else { usual }?,
        format: format?,
        keys: None,
    })
}

fn login(s: &mut Section<'_>, base: &Path) -> Option<EtcdLogin> {
    let user = s.get("user", parse::text);
    let password_file = s.get("password_file", parse::text).map(|path| base.join(path));
    if s.has("password") {
        let aside = "must not stand here: write it into a file of its own and name that with password_file";
        s.get("password", |_| Err::<(), _>(aside.to_owned()));
    }
    match (&user, &password_file) {
        (Some(_), None) => s.mistake(
            "password_file",
            "is missing: a user needs a file with the password",
        ),
        (None, Some(_)) => s.mistake("user", "is missing: a password needs the name of its user"),
        _ => {}
    }
    user.zip(password_file)
        .map(|(user, password_file)| EtcdLogin { user, password_file })
}
