//! Shared indicators as others publish them; `ROJE_DATA` names the folder that has them.
//!
//! Everything loads or is refused with a reason and a place, and nothing vanishes: what a plain script
//! counted in each file (`counts.json`) is what is loaded, refused or there twice.
#![cfg(feature = "real-data")]

use roje::rules::foreign::{Format, Offered};
use roje::rules::{LoadedSet, Store, pattern};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn intel() -> PathBuf {
    let root = std::env::var_os("ROJE_DATA").expect("ROJE_DATA must name the folder of test data");
    Path::new(&root).join("intel")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON")
}

/// The set of a file, or why there is none.
fn load(path: &Path) -> Result<Arc<LoadedSet>, String> {
    let generation = Store::new(vec![path.to_owned()], None, None).load(roje::input::now());
    if let Some(set) = generation.sets.first() {
        return Ok(set.clone());
    }
    let refused = generation.refused.first().map(|file| file.refused.clone());
    let refused = refused.unwrap_or_else(|| panic!("{}: neither a set nor refused", path.display()));
    assert!(!refused.reason.is_empty() && !refused.first.is_empty(), "{}", path.display());
    Err(refused.reason)
}

fn account(set: &LoadedSet) -> &BTreeMap<&'static str, Offered> {
    &set.foreign.as_ref().expect("a foreign set").account
}

/// What was loaded is in the set, or was there already.
fn nothing_vanishes(path: &str, set: &LoadedSet) {
    let foreign = set.foreign.as_ref().expect("a foreign set");
    let loaded: usize = foreign.account.values().map(|one| one.loaded).sum();
    assert_eq!(set.entries() + foreign.duplicates, loaded, "{path}");
    let refused: usize = foreign.account.values().map(|one| one.refused).sum();
    assert_eq!(set.refused.iter().map(|one| one.count).sum::<usize>(), refused, "{path}");
    for refused in &set.refused {
        let mut place = refused.first.rsplit(':');
        let (column, line) = (place.next(), place.next());
        assert!(
            [column, line].iter().all(|at| at.is_some_and(|at| at.parse::<usize>().is_ok_and(|at| at > 0))),
            "{path}: {refused:?}"
        );
    }
}

#[test]
fn counts_are_those_of_a_plain_script() {
    let counts = json(&intel().join("counts.json"));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut loaded: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, counted) in counts.as_object().expect("counts") {
        let kind = counted["kind"].as_str().expect("a kind");
        let (wanted, section) = match kind {
            "misp" => (Format::MispEvent, "attributes"),
            "stix" => (Format::Stix, "objects"),
            "warninglist" => (Format::Warninglist, ""),
            _ => continue,
        };
        *seen.entry(kind).or_default() += 1;
        let offered: BTreeMap<&str, usize> = counted[section]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(of, count)| (of.as_str(), count.as_u64().expect("a count") as usize))
            .collect();
        let set = match load(&intel().join(name)) {
            Ok(set) => set,
            Err(reason) => {
                // A file without indicators is no set; others may be refused for what they hold.
                let empty = match kind {
                    "misp" => offered.is_empty(),
                    "stix" => !offered.contains_key("indicator"),
                    _ => false,
                };
                assert!(empty || reason.contains("rows are bad"), "{name}: {reason}");
                continue;
            }
        };
        nothing_vanishes(name, &set);
        let foreign = set.foreign.as_ref().expect("a foreign set");
        assert_eq!(foreign.format, wanted, "{name}");
        *loaded.entry(kind).or_default() += set.entries();
        match kind {
            "misp" => {
                let rows: BTreeMap<&str, usize> =
                    account(&set).iter().map(|(of, one)| (*of, one.rows)).collect();
                assert_eq!(rows, offered, "{name}");
            }
            "stix" => {
                assert_eq!(account(&set)["indicator"].rows, offered["indicator"], "{name}");
                terms(name, &set, counted);
            }
            _ => {
                let rows: usize = account(&set).values().map(|one| one.rows).sum();
                assert_eq!(rows as u64, counted["entries"].as_u64().expect("a count"), "{name}");
            }
        }
    }
    println!("files: {seen:?}, values loaded: {loaded:?}");
    assert!(seen["misp"] > 50 && seen["stix"] > 100 && seen["warninglist"] > 50, "{seen:?}");
    assert!(loaded["misp"] > 2500 && loaded["stix"] > 2500 && loaded["warninglist"] > 9000, "{loaded:?}");
}

/// Each comparison that a plain script found is loaded or refused, where no indicator was refused whole.
fn terms(name: &str, set: &LoadedSet, counted: &Value) {
    let account = account(set);
    if account["indicator"].refused > 0 {
        return;
    }
    let plain = |path: &str| path.to_ascii_lowercase().replace(['\'', '-', '_'], "");
    let mut theirs: BTreeMap<String, usize> = BTreeMap::new();
    for (path, count) in counted["equality_terms"].as_object().into_iter().flatten() {
        *theirs.entry(plain(path)).or_default() += count.as_u64().expect("a count") as usize;
    }
    for (path, one) in account.iter().filter(|(path, _)| **path != "indicator") {
        let counted = theirs.get(&plain(path)).copied().unwrap_or(0);
        // The script counts equality alone; `IN`, `LIKE` and `ISSUBSET` come on top.
        assert!(one.loaded + one.refused >= counted, "{name}: {path} {one:?} {counted}");
    }
}

#[test]
fn a_feed_is_one_set() {
    for (name, attributes) in [("misp-feed", None), ("misp-feed-tweetfeed", None::<usize>)] {
        let dir = intel().join(name);
        let generation = Store::new(vec![dir.clone()], None, None).load(roje::input::now());
        let sets: Vec<&str> = generation.sets.iter().map(|set| set.info.name.as_str()).collect();
        assert_eq!(sets, [name], "{:?}", generation.refused);
        let set = &generation.sets[0];
        nothing_vanishes(name, set);
        let mut said = 0;
        for event in json(&dir.join("manifest.json")).as_object().expect("a manifest").keys() {
            let event = json(&dir.join(format!("{event}.json")));
            let count = &event["Event"]["attribute_count"];
            let listed = event["Event"]["Attribute"].as_array().map_or(0, Vec::len);
            said += count.as_str().and_then(|count| count.parse().ok()).unwrap_or(listed);
        }
        let rows: usize = account(set).values().map(|one| one.rows).sum();
        assert_eq!(rows, attributes.unwrap_or(said), "{name}");
        assert!(set.entries() > 50, "{name}");
    }
}

#[test]
fn bundles_hold_the_lists_beside_them() {
    let mut compared = 0;
    for (bundle, lists) in [
        ("stix-mvt/candiru/candiru.stix2", &["domains.txt"][..]),
        (
            "stix-mvt/2024-12-25_eaglemsgspy/eaglemsgspy.stix2",
            &["domains.txt", "ip-addresses.txt", "sha256.txt"],
        ),
        (
            "stix-mvt/2023-06_01_operation_triangulation/operation_triangulation.stix2",
            &["domains.txt", "emails.txt"],
        ),
        ("stix-mvt/2022-06-23_rcs_lab/rcs.stix2", &["domains.txt", "sha256.txt"]),
        ("stix-mvt/intellexa_predator/predator.stix2", &["domains.txt"]),
        ("stix-amnesty/2021-07-18_nso/pegasus.stix2", &["domains.txt", "emails.txt"]),
    ] {
        let path = intel().join(bundle);
        let set = load(&path).unwrap_or_else(|reason| panic!("{bundle}: {reason}"));
        let held: BTreeSet<String> = set.compiled.entries().map(|entry| entry.value.to_string()).collect();
        for list in lists {
            let text = fs::read_to_string(path.parent().expect("a folder").join(list)).expect("a list");
            for value in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                let kinds = roje::detect::indicator::Kind::ALL;
                let forms: Vec<String> = kinds
                    .iter()
                    .filter_map(|kind| roje::detect::indicator::normalise(*kind, value, true).ok())
                    .map(|form| form.to_string())
                    .collect();
                let guarded = !value.contains('.');
                assert!(guarded || forms.iter().any(|form| held.contains(form)), "{bundle}: {list}: {value}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn the_committees_patterns() {
    let folder = intel().join("stix-patterns");
    let text = fs::read_to_string(folder.join("spec_examples_v21.txt")).expect("examples");
    let mut read = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // Two of the examples lack the escapes of their own language.
        if let Err(mistake) = pattern::parse(line) {
            assert!(line.get(mistake.at..).is_some_and(|rest| rest.starts_with('\\')), "{line}: {mistake:?}");
        } else {
            read += 1;
        }
    }
    for case in json(&folder.join("validity_v21.json")).as_array().expect("cases") {
        let pattern = case["pattern"].as_str().expect("a pattern");
        let parsed = pattern::parse(pattern);
        assert_eq!(parsed.is_ok(), case["valid"] == true, "{pattern}: {parsed:?}");
        if let Err(mistake) = parsed {
            assert!(mistake.at <= pattern.len() && !mistake.expected.is_empty(), "{pattern}");
        }
        read += 1;
    }
    println!("{read} patterns");
    assert!(read > 40, "{read}");
}

#[test]
fn the_validators_documents() {
    let folder = intel().join("stix-validator/v21");
    for (name, expected) in [
        ("identity", "without an indicator"),
        ("identity_custom", "without an indicator"),
        ("identity_unicode", "without an indicator"),
        ("tlp-amber", "without an indicator"),
        ("tool", "without an indicator"),
        ("invalid_identity", "`created` without `modified`"),
        ("invalid_timestamp", "`modified` is before `created`"),
        ("invalid_comma", "no JSON"),
        ("invalid_braces", ""),
    ] {
        let path = folder.join(format!("{name}.json"));
        let generation = Store::new(vec![path], None, None).load(roje::input::now());
        assert!(generation.sets.is_empty(), "{name}");
        let told: Vec<String> = generation.diagnostics.iter().map(|one| one.one_line()).collect();
        if expected == "without an indicator" {
            assert!(
                told.iter().all(|one| !one.contains("`created`") && !one.contains("no JSON")),
                "{name}: {told:?}"
            );
            continue;
        }
        let first = generation.diagnostics.first().unwrap_or_else(|| panic!("{name}: nothing is told"));
        assert!(first.message.contains(expected), "{name}: {told:?}");
        assert!(first.line > 0 || name == "invalid_braces", "{name}: {told:?}");
    }
}

#[test]
fn every_folder_loads_or_says_why() {
    let mut sets = 0;
    let mut refused = Vec::new();
    for entry in fs::read_dir(intel()).expect("a folder").flatten().filter(|entry| entry.path().is_dir()) {
        let generation = Store::new(vec![entry.path()], None, None).load(roje::input::now());
        sets += generation.sets.len();
        for file in &generation.refused {
            assert!(!file.refused.reason.is_empty(), "{}", file.path.display());
            refused.push(format!("{}: {}", file.path.display(), file.refused.reason));
        }
        for set in generation.sets.iter().filter(|set| set.foreign.is_some()) {
            nothing_vanishes(&set.info.name, set);
        }
    }
    println!("{sets} sets; refused whole:\n{}", refused.join("\n"));
    assert!(sets > 170, "{sets}");
}
