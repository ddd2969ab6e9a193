//! `reload`: a running bridge reads its configuration again.

use http::Method;
use serde_json::Value;

use super::Failure;
use super::output::{print, request};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "The same as SIGHUP, with an answer: what is in force now and what takes a restart. A file with a mistake changes nothing; each
mistake is printed, and the exit code is 1. `plan --with FILE` says before what a change would do to requests.";

pub(super) fn reload(config: &Config) -> Result<(), Failure> {
    let answer = request(config, Method::POST, "/reload")?;
    let Ok(view) = serde_json::from_slice::<Value>(&answer) else {
        return print(&String::from_utf8_lossy(&answer)); // it takes longer, and says so
    };
    print(&words(&view))
}

fn words(view: &Value) -> String {
    let texts = |name: &str| -> Vec<&str> {
        let all = view[name].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).collect()
    };
    let (changed, restart) = (texts("changed"), texts("needs_restart"));
    if changed.is_empty() && restart.is_empty() {
        return "the file says what is in force: nothing changes\n".to_owned();
    }
    let now = changed.iter().map(|text| format!("in force: {text}\n"));
    let later = restart
        .iter()
        .map(|section| format!("! [{section}] differs: that takes effect with a restart of the bridge\n"));
    now.chain(later).collect()
}
