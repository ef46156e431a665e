//! Tables and free text become sets, whose native form has the same values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::rules::foreign::{Format, Part, load};
use roje::rules::load::Loaded;
use roje::rules::problems::Problems;
use roje::rules::{LoadedSet, Store, write};
use std::io::Write;

fuzz_target!(|text: &str| {
    let values = |set: &LoadedSet| -> Vec<String> {
        set.compiled.entries().map(|entry| format!("{} {}", entry.kind.name(), entry.value)).collect()
    };
    for format in [Format::Table, Format::Plain] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let mut problems = Problems::default();
        let loaded = load(format, "set", &[Part::own(file.path())], Some(64 << 20), &mut problems);
        let Loaded::Set(set) = loaded else { continue };
        let mut native = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        native.write_all(write::native(&set).as_bytes()).expect("written");
        let generation = Store::new(vec![native.path().into()], None, None).load(0);
        let again = generation.sets.first().map(|set| values(set)).unwrap_or_default();
        assert_eq!(again, values(&set), "{:?}", generation.diagnostics);
    }
});
