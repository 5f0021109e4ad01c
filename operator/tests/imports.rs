//! The import order of the operator: each module of `src` imports only from the modules before it, and its submodules
//! do not import one another in a circle.
//!
//! Checked in the sources: every path that begins with `crate::` or `super::`, outside comments and tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of `src`, in import order.
const MODULES: &[&str] = &[
    "peer",
    "environment",
    "identity",
    "invitation",
    "settings",
    "cluster",
    "replicate",
    "uplink",
    "voter",
    "observe",
    "realize",
    "report",
    "ops",
    "enter",
    "run",
    "main",
];

/// One source file: the path of its module and the paths it imports, both from the root of the crate.
struct Source {
    module: Vec<String>,
    paths: Vec<Vec<String>>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let source = |file: PathBuf| {
        let relative = file.strip_prefix(&root).unwrap().with_extension("");
        let module: Vec<String> = relative
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        let text = without_tests(&fs::read_to_string(&file).unwrap());
        let paths = paths_of(&text, &module);
        Source { module, paths }
    };
    let shipped = |module: &[String]| {
        let for_tests = ["tests", "fixture", "lib"];
        !module.iter().any(|part| for_tests.contains(&part.as_str()))
    };
    let all = files.into_iter().map(source);
    all.filter(|source| shipped(&source.module)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The text without comments and without the tests at its end.
fn without_tests(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path in `text` that begins at the crate or at the parent, made absolute.
fn paths_of(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (keyword, base) in [("crate::", 0), ("super::", module.len() - 1)] {
        for (at, _) in text.match_indices(keyword) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let prefix: Vec<String> = module[..base].to_vec();
            expand(&text[at + keyword.len()..], &prefix, &mut paths);
        }
    }
    paths
}

/// Adds the paths at the start of `text`: `a::b`, or `{a::b, c}` behind a prefix. Returns what follows them.
fn expand<'t>(text: &'t str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(rest, prefix, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return rest;
    }
    let mut path = prefix.to_vec();
    if name == "super" {
        path.pop();
    } else if name != "self" {
        path.push(name.to_owned());
    }
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(deeper, &path, paths);
    }
    paths.push(path);
    match rest.trim_start().strip_prefix("as ") {
        Some(renamed) => {
            let renamed = renamed.trim_start();
            let end = renamed.find(|c: char| !c.is_alphanumeric() && c != '_');
            &renamed[end.unwrap_or(renamed.len())..]
        }
        None => rest,
    }
}

#[test]
fn every_module_imports_only_from_the_modules_before_it() {
    let place = |module: &str| MODULES.iter().position(|known| *known == module);
    let mut wrong = BTreeSet::new();
    for Source { module, paths } in sources() {
        let Some(own) = place(&module[0]) else {
            wrong.insert(format!("{} is missing in MODULES", module.join("::")));
            continue;
        };
        for path in paths.iter().filter(|path| !path.is_empty()) {
            match place(&path[0]) {
                Some(other) if other <= own => {}
                Some(_) | None => {
                    wrong.insert(format!("{} imports {}", module.join("::"), path.join("::")));
                }
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

/// The imports of each submodule of `parent` from the others. The file of `parent` itself is "": it may import all.
fn imports_within(parent: &str, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let inside = sources.iter().filter(|source| source.module[0] == parent);
    let modules: BTreeSet<String> = inside
        .clone()
        .filter_map(|source| source.module.get(1).cloned())
        .collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Source { module, paths } in inside {
        let own = module.get(1).cloned().unwrap_or_default();
        let entry = imports.entry(own.clone()).or_default();
        for path in paths
            .iter()
            .filter(|path| path.first().is_some_and(|it| it == parent))
        {
            let other = path.get(1).filter(|name| modules.contains(*name));
            let other = other.cloned().unwrap_or_default();
            if other != own {
                entry.insert(other);
            }
        }
    }
    imports
}

/// A circle of imports, with its first module repeated at the end, if there is one.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    imports
        .keys()
        .find_map(|start| walk(imports, std::slice::from_ref(start)))
}

fn walk(imports: &BTreeMap<String, BTreeSet<String>>, way: &[String]) -> Option<Vec<String>> {
    for next in imports.get(way.last()?)? {
        let mut longer = way.to_vec();
        longer.push(next.clone());
        if next == way.first()? {
            return Some(longer);
        }
        if !way.contains(next)
            && let Some(found) = walk(imports, &longer)
        {
            return Some(found);
        }
    }
    None
}

#[test]
fn submodules_do_not_import_one_another_in_a_circle() {
    let sources = sources();
    let circles: Vec<String> = MODULES
        .iter()
        .filter_map(|module| {
            let circle = circle(&imports_within(module, &sources))?;
            Some(format!("{module}: {}", circle.join(" → ")))
        })
        .collect();
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn paths_are_read_out_of_nested_imports() {
    let module = ["realize".to_owned(), "host".to_owned()];
    let text = "use super::{apply::{Record, apply as go}, build::build};\nuse crate::cluster::Cluster;\nlet x = crate::peer::MAX;";
    let found: Vec<String> = paths_of(&without_tests(text), &module)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "cluster::Cluster",
            "peer::MAX",
            "realize::apply::Record",
            "realize::apply::apply",
            "realize::build::build"
        ]
    );
}

#[test]
fn a_circle_is_found_and_named() {
    let imports = |rows: &[(&str, &str)]| {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in rows {
            imports
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        imports
    };
    assert_eq!(circle(&imports(&[("a", "b"), ("b", "c")])), None);
    assert_eq!(
        circle(&imports(&[("a", "b"), ("b", "c"), ("c", "a")])),
        Some(["a", "b", "c", "a"].map(str::to_owned).to_vec())
    );
}
