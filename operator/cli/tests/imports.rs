//! The modules of the plugin do not import one another in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Each top-level module with those it imports. `foo/bar.rs` is part of `foo`.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn imports() -> Result<Imports> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports = Imports::new();
    for path in sources(&root)? {
        let first = path.strip_prefix(&root)?.iter().next();
        let first = first.ok_or("a file without a name")?.to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let mut imported = imported(&fs::read_to_string(&path)?);
        imported.remove(module);
        imports
            .entry(module.to_owned())
            .or_default()
            .extend(imported);
    }
    Ok(imports)
}

/// The module behind each `crate::` of a file, in its `use` lines and elsewhere.
fn imported(source: &str) -> BTreeSet<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let paths = code.split("crate::").skip(1);
    paths.flat_map(first_names).collect()
}

/// `foo` of `foo::Bar`; `foo` and `baz` of `{foo::{Bar, Other}, baz}`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![first_name(path)];
    };
    let (mut depth, mut entry, mut names) = (1, String::new(), Vec::new());
    for character in group.chars() {
        depth += match character {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 || (depth == 1 && character == ',') {
            names.push(first_name(&mem::take(&mut entry)));
        } else {
            entry.push(character);
        }
        if depth == 0 {
            break;
        }
    }
    // Behind the last comma.
    names.retain(|name| !name.is_empty());
    names
}

fn first_name(path: &str) -> String {
    let path = path.trim_start().chars();
    path.take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// A circle, as the modules along it, with the first one again at the end.
fn circle(imports: &Imports) -> Option<Vec<&str>> {
    let mut done = BTreeSet::new();
    let mut modules = imports.keys();
    modules.find_map(|module| circle_from(module, imports, &mut Vec::new(), &mut done))
}

/// Searches in depth: `path` has led to `module`, and the modules that are `done` are in no circle.
fn circle_from<'a>(
    module: &'a str,
    imports: &'a Imports,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = path.iter().position(|passed| *passed == module) {
        return Some([&path[start..], &[module]].concat());
    }
    if done.contains(module) {
        return None;
    }
    path.push(module);
    let imported = imports.get(module).into_iter().flatten();
    for next in imported {
        if let Some(circle) = circle_from(next, imports, path, done) {
            return Some(circle);
        }
    }
    path.pop();
    done.insert(module);
    None
}

#[test]
fn no_modules_import_one_another_in_a_circle() {
    let imports = imports().unwrap();
    assert!(imports["members"].contains("output"), "{imports:?}");
    if let Some(circle) = circle(&imports) {
        panic!("modules import one another: {}", circle.join(" -> "));
    }
}

#[test]
fn only_main_imports_the_arguments() {
    for (module, imported) in imports().unwrap() {
        assert!(
            !imported.contains("arguments"),
            "{module} imports arguments"
        );
    }
}

#[test]
fn a_circle_is_found() {
    let imports = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (module, source) in pairs {
            imports.insert((*module).to_owned(), imported(source));
        }
        imports
    };
    let ring = imports(&[
        ("a", "use crate::{b::{X, Y}, d};"),
        ("b", "// use crate::a;\nuse crate::{\n    c::Z,\n    d,\n};"),
        ("c", "fn f() -> crate::b::Y {}"),
        ("d", ""),
    ]);
    assert_eq!(circle(&ring), Some(vec!["b", "c", "b"]));
    let tree = imports(&[("a", "use crate::{b, c};"), ("b", "use crate::c;")]);
    assert_eq!(circle(&tree), None);
}
