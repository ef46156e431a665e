//! A stage imports only the stages before it; within a stage, one protocol never imports another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may import beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("diagnostic", &[]),
    ("input", &[]),
    ("decode", &["input"]),
    ("detect", &["input", "decode"]),
    ("alert", &["input", "decode", "detect"]),
    ("output", &["input", "decode", "detect", "alert"]),
    ("metrics", &["input", "decode", "detect", "alert", "output"]),
    ("sources", &["input", "decode", "alert"]),
    ("worker", &["input", "decode", "detect", "alert", "metrics", "sources"]),
    ("rules", &["diagnostic", "input", "decode", "detect"]),
    ("config", &["diagnostic", "input", "detect", "alert", "output"]),
    ("admin", &[]),
    (
        "pipeline",
        &[
            "diagnostic",
            "input",
            "decode",
            "detect",
            "alert",
            "output",
            "metrics",
            "sources",
            "worker",
            "rules",
            "config",
            "admin",
        ],
    ),
    (
        "cli",
        &[
            "diagnostic",
            "input",
            "decode",
            "detect",
            "alert",
            "output",
            "metrics",
            "sources",
            "worker",
            "rules",
            "config",
            "admin",
            "pipeline",
        ],
    ),
];

/// Pairs of folders that must not know each other.
const APART: &[(&str, &str)] = &[("decode/syslog", "decode::flow"), ("decode/flow", "decode::syslog")];

#[test]
fn stages_import_only_the_stages_before_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&source_root()) {
        let relative = path.strip_prefix(source_root()).expect("below src").to_path_buf();
        let stage =
            relative.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        if stage == "lib" || stage == "main" {
            continue;
        }
        let Some(may) = allowed.get(stage.as_str()) else {
            wrong.push(format!("{}: no stage of this name in the table", relative.display()));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a source file");
        for (number, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for import in imports(line) {
                seen += 1;
                if import != stage && !may.contains(&import.as_str()) {
                    wrong.push(format!("{}:{}: {stage} imports {import}", relative.display(), number + 1));
                }
            }
            for (folder, other) in APART {
                if relative.starts_with(folder) && line.contains(&format!("crate::{other}")) {
                    wrong.push(format!("{}:{}: imports {other}", relative.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 30, "the test must see the imports; it saw {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The modules named after `crate::`, also in braces.
fn imports(line: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group.split(',').map(|item| name(item.trim()))),
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
