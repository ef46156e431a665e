//! `roje import`: files of other formats as a native set.

use super::{ImportArgs, ImportFormat, terminal};
use crate::diagnostic::Level;
use crate::rules::find;
use crate::rules::foreign::{self, Format, Part};
use crate::rules::load::Loaded;
use crate::rules::problems::Problems;
use crate::rules::write;
use anyhow::{Context, anyhow};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Converts files to one native set on standard output.
pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let (format, parts) = match args.from {
        ImportFormat::Csv => (Format::Table, own(&args.files)),
        ImportFormat::Plain => (Format::Plain, own(&args.files)),
        ImportFormat::Stix => (Format::Stix, own(&args.files)),
        ImportFormat::Misp => misp(&args.files)?,
    };
    let name = args.name.clone().unwrap_or_else(|| name_of(&args.files));
    let mut problems = Problems::default();
    let loaded = foreign::load(format, &name, &parts, None, &mut problems);
    let mut errors = std::io::stderr().lock();
    let problems = problems.finish();
    let grave = problems.iter().filter(|problem| problem.diagnostic.level == Level::Error);
    terminal::problems(&mut errors, grave, terminal::colour_err())?;
    let set = match loaded {
        Loaded::Set(set) => set,
        Loaded::Refused { reason, first, .. } => return Err(anyhow!("{first}: {reason}")),
        _ => return Err(anyhow!("no indicators in {}", paths(&args.files))),
    };
    for refused in &set.refused {
        let (reason, first) = (terminal::escape(&refused.reason), terminal::escape(&refused.first));
        writeln!(errors, "skipped: {} × {reason} (first at {first})", refused.count)?;
    }
    let skipped: usize = set.refused.iter().map(|refused| refused.count).sum();
    let duplicates = set.foreign.as_ref().map_or(0, |foreign| foreign.duplicates);
    writeln!(errors, "{} indicators, {skipped} skipped, {duplicates} duplicates", set.entries())?;
    std::io::stdout().lock().write_all(write::native(&set).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn own(files: &[PathBuf]) -> Vec<Part> {
    files.iter().map(|file| Part::own(file)).collect()
}

/// Events and lists as they are, a feed by its directory.
fn misp(files: &[PathBuf]) -> anyhow::Result<(Format, Vec<Part>)> {
    if let [dir] = files
        && dir.is_dir()
    {
        let mut found = find::find(std::slice::from_ref(dir)).files;
        let feed = foreign::feeds(&mut found, &mut Vec::new()).into_iter().next();
        let feed = feed.ok_or_else(|| anyhow!("{}: no manifest.json of a MISP feed", dir.display()))?;
        if let Some(reason) = feed.broken {
            return Err(anyhow!("{}: {reason}", dir.display()));
        }
        let paths = std::iter::once(&feed.manifest.path).chain(&feed.events);
        return Ok((Format::MispManifest, paths.map(|path| Part::own(path)).collect()));
    }
    let first = files.first().map_or(Path::new(""), PathBuf::as_path);
    let text =
        foreign::read_text(first).map_err(|reason| anyhow!(reason)).context(first.display().to_string())?;
    match foreign::identify(&text) {
        Ok(Some(Format::Warninglist)) => Ok((Format::Warninglist, own(files))),
        _ => Ok((Format::MispEvent, own(files))),
    }
}

fn name_of(files: &[PathBuf]) -> String {
    let stem =
        files.first().and_then(|file| file.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.trim().is_empty()).unwrap_or_else(|| "imported".to_owned())
}

fn paths(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
