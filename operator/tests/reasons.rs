//! `docs/concepts.md` lists every reason that a condition of a workload can have, and no other.
//!
//! Checked in the sources: the words in `CamelCase` of the modules that write these conditions.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(path)).unwrap();
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .to_owned()
}

/// The words in `CamelCase` that stand between two of `quote`.
fn words(text: &str, quote: char) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let words = lines.flat_map(|line| line.split(quote).skip(1).step_by(2));
    let is_word = |word: &&str| {
        let mut letters = word.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_uppercase())
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    words.filter(is_word).map(str::to_owned).collect()
}

#[test]
fn every_reason_of_a_workloads_conditions_is_explained() {
    let mut used = words(&read("src/report/conditions.rs"), '"');
    used.extend(words(&read("src/report/workload.rs"), '"'));
    for module in ["src/observe/round.rs", "src/observe/workloads.rs"] {
        let text = read(module);
        let lines = text.lines();
        let problems =
            lines.filter(|line| line.contains("problem(") || line.contains("reason: \""));
        used.extend(words(&problems.collect::<Vec<_>>().join("\n"), '"'));
    }
    let concepts = read("../docs/concepts.md");
    let section = concepts.split("## What the conditions say").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let conditions = [
        "Ready",
        "Placed",
        "Survivable",
        "Compliant",
        "Progressing",
        "Stalled",
    ];
    let values = ["True", "False", "Unknown"];
    let mut explained = words(section, '`');
    explained.retain(|word| !values.contains(&word.as_str()));
    // One word is a condition and a reason.
    explained.retain(|word| word == "Placed" || !conditions.contains(&word.as_str()));
    assert_eq!(explained, used);
}
