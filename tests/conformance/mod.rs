//! `docs/conformance.md`, of which each conformance test writes one section.

use std::path::{Path, PathBuf};

/// The committed section, written anew first if `ROJE_BLESS` is set.
pub fn committed(section: &str, report: &str) -> String {
    let path = path();
    let text = std::fs::read_to_string(&path).expect("docs/conformance.md");
    let (begin, end) = (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin:?} in {path:?}"));
    let (old, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end:?} in {path:?}"));
    if std::env::var_os("ROJE_BLESS").is_none() {
        return old.to_string();
    }
    let new = format!("\n{}\n\n", report.trim());
    std::fs::write(&path, [before, &begin, &new, &end, after].concat()).expect("docs/conformance.md");
    new
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")
}
