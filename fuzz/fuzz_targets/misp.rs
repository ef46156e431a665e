//! A file of the format loads, or is refused with a place that lies in it; nothing that it offers vanishes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::rules::foreign::{Format, Part, load};
use roje::rules::load::Loaded;
use roje::rules::problems::Problems;
use std::io::Write;

fuzz_target!(|text: &str| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let mut problems = Problems::default();
    let loaded = load(Format::MispEvent, "set", &[Part::own(file.path())], Some(64 << 20), &mut problems);
    let lines = text.matches('\n').count() + 1;
    for problem in problems.finish() {
        assert!(problem.diagnostic.line <= lines, "{:?}", problem.diagnostic);
        assert!(problem.diagnostic.span.end <= text.len().max(1), "{:?}", problem.diagnostic);
        problem.render(false);
    }
    if let Loaded::Set(set) = loaded {
        let foreign = set.foreign.as_ref().expect("a foreign set");
        let loaded: usize = foreign.account.values().map(|one| one.loaded).sum();
        let refused: usize = foreign.account.values().map(|one| one.refused).sum();
        assert_eq!(set.entries() + foreign.duplicates, loaded);
        assert_eq!(set.refused.iter().map(|one| one.count).sum::<usize>(), refused);
    }
});
