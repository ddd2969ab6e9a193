//! No files of one room import each other in a circle: a reader can begin at the bottom.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility};

/// Circles that stand for now: a file of each. None may be added.
const KNOWN: &[&str] = &[];

/// part of a room → which other parts it may import. `*`: all of them.
type Parts = &'static [(&'static str, &'static [&'static str])];

/// The rooms whose parts import one way.
const ROOMS: &[(&str, Parts)] = &[(
    "source::consul",
    &[
        ("timing", &[]),
        ("decode", &[]),
        ("files", &[]),
        ("news", &["decode"]),
        ("capacity", &["timing"]),
        ("trust", &["timing", "decode", "capacity"]),
        ("context", &["timing", "news", "capacity", "trust"]),
        (
            "watch",
            &["timing", "decode", "news", "capacity", "trust", "context"],
        ),
        ("keys", &["decode"]),
        ("ledger", &["decode", "news", "keys"]),
        (
            "supervisor",
            &["timing", "news", "trust", "context", "watch", "ledger"],
        ),
        ("", &["*"]),
    ],
)];

/// `xds::stream::delta`, and what it imports.
type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

fn files() -> BTreeMap<Vec<String>, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&root).unwrap().with_extension("");
            let mut parts: Vec<String> = relative
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            let is_test = parts.iter().any(|part| part.ends_with("tests"));
            if parts.last().is_some_and(|last| last == "mod") {
                parts.pop();
            }
            if !is_test && path.extension().is_some_and(|ending| ending == "rs") {
                found.insert(parts, path);
            }
        }
    }
    found
}

/// The paths that a file names, but for its tests.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        assert!(
            item.content.is_none(),
            "a module inside of a file: {}",
            item.ident
        );
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        leaves(&item.tree, &mut Vec::new(), &mut self.0);
    }

    /// `pub(super)` names who may see it, and imports nothing.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0
            .push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

fn leaves(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        UseTree::Name(name) => found.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => found.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => found.push(before.clone()),
    }
}

/// From the root; `None`: it is nothing of ours.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([&module[..module.len().checked_sub(supers)?], &path[supers..]].concat()),
        _ => None,
    }
}

fn graph() -> Graph {
    let files = files();
    let imports = |module: &Vec<String>, path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let file: File = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut paths = Paths::default();
        paths.visit_file(&file);
        let named = paths.0.iter().filter_map(|path| absolute(module, path));
        // The file that defines it is the longest part of the path that is one.
        let defines = |path: Vec<String>| {
            (1..=path.len())
                .rev()
                .map(|n| path[..n].to_vec())
                .find(|p| files.contains_key(p))
        };
        named
            .filter_map(defines)
            .filter(|other| other != module)
            .collect()
    };
    files
        .iter()
        .map(|(module, path)| (module.clone(), imports(module, path)))
        .collect()
}

/// All that a module imports, and what that imports.
fn reach(graph: &Graph, from: &Vec<String>) -> BTreeSet<Vec<String>> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for other in &graph[module] {
            if seen.insert(other.clone()) {
                next.push(other);
            }
        }
    }
    seen
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = graph();
    assert!(graph.len() > 100, "it reads the wrong folder");
    let all: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = graph
        .keys()
        .map(|module| (module, reach(&graph, module)))
        .collect();
    let circle = |module: &Vec<String>| -> Vec<String> {
        let with = all[module].iter().filter(|other| all[*other].contains(module));
        with.map(|other| other.join("::")).collect()
    };
    let circles: BTreeSet<Vec<String>> = graph
        .keys()
        .map(circle)
        .filter(|circle| !circle.is_empty())
        .collect();
    let (known, new): (Vec<_>, Vec<_>) = circles
        .into_iter()
        .partition(|circle| circle.iter().any(|module| KNOWN.contains(&module.as_str())));
    assert!(
        new.is_empty(),
        "what two files need of each other belongs into a third one: {new:#?}"
    );
    assert_eq!(
        known.len(),
        KNOWN.len(),
        "a circle is open: take it out of the list"
    );
}

#[test]
fn the_parts_of_a_room_import_one_way() {
    let graph = graph();
    let mut wrong = Vec::new();
    for (room, parts) in ROOMS {
        let prefix: Vec<String> = room.split("::").map(str::to_owned).collect();
        let part = |module: &Vec<String>| {
            let inside = module.starts_with(&prefix);
            inside.then(|| module.get(prefix.len()).cloned().unwrap_or_default())
        };
        for (module, imports) in &graph {
            let Some(from) = part(module) else { continue };
            let Some(place) = parts.iter().position(|(name, _)| *name == from) else {
                panic!("{room} has a part {from} that is not in the table");
            };
            let may = parts[place].1;
            for to in imports.iter().filter_map(part).filter(|to| *to != from) {
                if !may.contains(&to.as_str()) && !may.contains(&"*") {
                    wrong.push(format!("{}: {from} must not import {to}", module.join("::")));
                }
            }
            // A part may import those before it in the table only: so the table has no circle.
            for to in may.iter().filter(|to| **to != "*") {
                let before = parts[..place].iter().any(|(name, _)| name == to);
                assert!(before, "{to} must stand before {from} in the table of {room}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
