//! fabio's commands, `route add`, `route del` and `route weight`, as they stand in its key and in those below it. A line
//! that cannot be read costs itself; there the whole table stays as it was. Pure.

use std::collections::BTreeMap;

use self::Token::{Quoted as Q, Word as W};
use super::tag;
use crate::text::clip;

/// The most commands that are read.
pub(super) const MAX_COMMANDS: usize = 10_000;
/// The most commands that are about each service.
pub(super) const MAX_OF_ALL: usize = 1_000;
/// The largest weight: a share is at most all, but several are compared with each other.
const MAX_SHARE: f64 = 1e6;

/// A command and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    /// `3`, or `/sub/key:3` below the root.
    pub(super) line: String,
    pub(super) order: Order,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Add(Add),
    /// Of each target that fits; of those of all services only by tags.
    Delete {
        service: Option<String>,
        tags: Vec<String>,
        source: Option<String>,
        target: Option<String>,
    },
    /// All targets that fit have this share together; 0: none of their own.
    Weight {
        service: Option<String>,
        source: String,
        share: f64,
        tags: Vec<String>,
    },
}

/// `route add`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Add {
    pub(super) service: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) share: f64,
    pub(super) tags: Vec<String>,
    pub(super) options: BTreeMap<String, String>,
}

/// What is wrong: the line, and why.
pub(super) type Wrong = (String, String);

/// Reads the values of keys, in their order.
pub(super) fn read<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (Vec<Command>, Vec<Wrong>) {
    let (mut commands, mut wrong) = (Vec::new(), Vec::new());
    let mut of_all = 0;
    for (key, text) in pairs {
        for (n, line) in text.lines().enumerate() {
            let words = line.trim();
            if words.is_empty() || words.starts_with('#') || words.starts_with("//") {
                continue;
            }
            let line = match key {
                "" => (n + 1).to_string(),
                key => format!("{}:{}", clip(key), n + 1),
            };
            if commands.len() >= MAX_COMMANDS {
                let why =
                    format!("more than {MAX_COMMANDS} commands; this one and all after it are left out");
                wrong.push((line, why));
                return (commands, wrong);
            }
            match order(words) {
                Ok(order) => {
                    of_all += usize::from(order.service().is_none());
                    if order.service().is_none() && of_all > MAX_OF_ALL {
                        let why = format!("more than {MAX_OF_ALL} commands name no service; left out");
                        wrong.push((line, why));
                    } else {
                        commands.push(Command { line, order });
                    }
                }
                Err(why) => {
                    let refused = protected(words);
                    let end = if refused.is_some() {
                        "it may protect its route, whose requests are answered with 401"
                    } else {
                        "left out"
                    };
                    commands.extend(refused.map(|order| Command {
                        line: line.clone(),
                        order,
                    }));
                    wrong.push((line, format!("{why}; {end}")));
                }
            }
        }
    }
    (commands, wrong)
}

impl Order {
    /// `None`: it is about each.
    pub(super) fn service(&self) -> Option<&str> {
        match self {
            Self::Add(add) => Some(&add.service),
            Self::Delete { service, .. } | Self::Weight { service, .. } => service.as_deref(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
}

fn order(line: &str) -> Result<Order, String> {
    let tokens = tokens(line)?;
    match &tokens[..] {
        [W("route"), W("add"), W(service), W(source), W(target), rest @ ..] => {
            let (share, rest) = match rest {
                [W("weight"), W(text), rest @ ..] => (share(text)?, rest),
                _ => (0.0, rest),
            };
            let (tags, rest) = match rest {
                [W("tags"), Q(text), rest @ ..] => (list(text), rest),
                _ => (Vec::new(), rest),
            };
            let (options, rest) = match rest {
                [W("opts"), Q(text), rest @ ..] => (tag::options(text), rest),
                _ => (BTreeMap::new(), rest),
            };
            if !rest.is_empty() {
                return Err(r#"must be route add SVC SRC DST weight W tags "T,T" opts "K=V K=V""#.to_owned());
            }
            Ok(Order::Add(Add {
                service: (*service).to_owned(),
                source: (*source).to_owned(),
                target: (*target).to_owned(),
                share,
                tags,
                options,
            }))
        }
        [W("route"), W("del"), rest @ ..] => {
            let (service, tags, source, target) = match rest {
                [W(service), W("tags"), Q(tags)] => (Some(service), list(tags), None, None),
                [W("tags"), Q(tags)] if !list(tags).is_empty() => (None, list(tags), None, None),
                [W(service)] => (Some(service), Vec::new(), None, None),
                [W(service), W(source)] => (Some(service), Vec::new(), Some(source), None),
                [W(service), W(source), W(target)] => (Some(service), Vec::new(), Some(source), Some(target)),
                _ => return Err(r#"must be route del SVC SRC DST, or tags "T,T" for SRC and DST"#.to_owned()),
            };
            let owned = |word: &&str| (*word).to_owned();
            Ok(Order::Delete {
                service: service.map(owned),
                tags,
                source: source.map(owned),
                target: target.map(owned),
            })
        }
        [W("route"), W("weight"), rest @ ..] => {
            let (service, source, weight, tags) = match rest {
                [W(service), W(source), W("weight"), W(weight)] => (Some(service), source, weight, ""),
                [W(service), W(source), W("weight"), W(weight), W("tags"), Q(tags)] => {
                    (Some(service), source, weight, *tags)
                }
                [W(source), W("weight"), W(weight), W("tags"), Q(tags)] => (None, source, weight, *tags),
                _ => return Err(r#"must be route weight SVC SRC weight W tags "T,T""#.to_owned()),
            };
            Ok(Order::Weight {
                service: service.map(|service| (*service).to_owned()),
                source: (*source).to_owned(),
                share: share(weight)?,
                tags: list(tags),
            })
        }
        _ => Err("must be route add, route del or route weight".to_owned()),
    }
}

/// What a line adds that may protect a route and cannot be read further than its source.
fn protected(line: &str) -> Option<Order> {
    if !["auth=", "allow=", "deny="]
        .iter()
        .any(|option| line.contains(option))
    {
        return None;
    }
    let mut words = line.split_whitespace();
    let is_add = words.next() == Some("route") && words.next() == Some("add");
    let (service, source) = (words.next()?, words.next()?);
    is_add.then(|| {
        Order::Add(Add {
            service: service.to_owned(),
            source: source.to_owned(),
            target: String::new(),
            share: 0.0,
            tags: Vec::new(),
            options: BTreeMap::from([("auth".to_owned(), String::new())]),
        })
    })
}

fn tokens(line: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let token = if let Some(inner) = rest.strip_prefix('"') {
            let (quoted, after) = inner.split_once('"').ok_or("a quote is not closed")?;
            if !after.is_empty() && !after.starts_with(char::is_whitespace) {
                return Err("there must be a blank after a quote".to_owned());
            }
            rest = after;
            Q(quoted)
        } else {
            let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            rest = after;
            W(word)
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| share.is_finite());
    let share = share.ok_or_else(|| format!("weight `{}` is no number", clip(text)))?;
    Ok(share.clamp(0.0, MAX_SHARE))
}

fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|tag| tag.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Vec<Command>, String) {
        let (commands, wrong) = read([("", text)].into_iter());
        let wrong: Vec<String> = wrong.iter().map(|(line, why)| format!("{line}: {why}")).collect();
        (commands, wrong.join("\n"))
    }

    #[test]
    fn each_form_is_read() {
        let (commands, wrong) = of(
            "# all\n\n// of them\nroute add  web a.x/ http://10.0.0.7:1/ weight 0.5 tags \"v1, v2\" \
                                    opts \"strip=/a host=dst\"\nroute\tdel web\nroute del web a.x/\n\
                                    route del web a.x/ http://10.0.0.7:1/\nroute del web tags \"v1\"\nroute del tags \"v1\"\n\
                                    route weight web a.x/ weight 0.2\nroute weight web a.x/ weight 0.2 tags \"v1\"\n \
                                    route weight a.x/ weight -1 tags \"v1,v2\"",
        );
        assert_eq!(wrong, "");
        assert_eq!(commands.len(), 9);
        assert_eq!(
            (commands[0].line.as_str(), commands[8].line.as_str()),
            ("4", "12")
        );
        let Order::Add(add) = &commands[0].order else {
            panic!()
        };
        assert_eq!(add.tags, ["v1", "v2"]);
        assert_eq!(add.options["strip"], "/a");
        let Order::Weight {
            service, share, tags, ..
        } = &commands[8].order
        else {
            panic!()
        };
        assert_eq!((service, share, tags.len()), (&None, &0.0, 2));
    }

    #[test]
    fn a_line_that_cannot_be_read_costs_itself() {
        for line in [
            "route",
            "rout add a b c",
            "route add a b",
            "route add a b c d",
            "route add a b c weight x",
            "route add a b c tags v1",
            "route add a b c tags \"v1",
            "route del",
            "route del tags \"\"",
            "route weight a.x/ weight 1",
            "route weight a a.x/ weight NaN",
        ] {
            let (commands, wrong) = of(&format!("{line}\nroute del web"));
            assert_eq!(commands.len(), 1, "{line}");
            assert!(
                wrong.starts_with("1: ") && wrong.ends_with("; left out"),
                "{line}: {wrong}"
            );
        }
        let (commands, wrong) = of("route add a a.x/admin http://10.0.0.7:1/ opts \"auth=x");
        assert!(commands.len() == 1 && wrong.contains("401"), "{wrong}");
    }

    #[test]
    fn there_is_an_end_of_commands() {
        let (commands, wrong) = of(&"route del a\n".repeat(MAX_COMMANDS + 2));
        assert_eq!(commands.len(), MAX_COMMANDS);
        assert!(wrong.starts_with("10001: more than"), "{wrong}");
        let (commands, wrong) = of(&"route del tags \"a\"\n".repeat(MAX_OF_ALL + 1));
        assert_eq!(commands.len(), MAX_OF_ALL);
        assert!(wrong.starts_with("1001: more than"), "{wrong}");
    }
}
