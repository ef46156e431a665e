//! Tables and free text that `import` converts: each line one row, its values found by their shape.
//!
//! A table's columns are chosen by their names where it has a header, in the first row or in a comment
//! above, as abuse.ch writes it; else the first column is taken in which most rows hold an indicator. In
//! free text every value counts; what says nothing is counted as skipped.

use super::bulk::fields;
use super::foreign::{Intake, Refusal};
use super::plain::{self, Found};
use crate::detect::indicator::Meta;

/// Names of columns that hold indicators; `sha256_hash` and `MD5` are told by their beginning.
const COLUMNS: &[&str] = &[
    "ioc",
    "iocvalue",
    "indicator",
    "value",
    "url",
    "domain",
    "domainname",
    "host",
    "hostname",
    "fqdn",
    "ip",
    "ipaddress",
    "address",
    "dstip",
    "srcip",
    "c2",
    "c2server",
    "email",
    "emailaddress",
    "observable",
];

/// Rows that are looked at to choose a column.
const SAMPLED: usize = 200;

/// Reads a table.
pub fn table(intake: &mut Intake<'_>) {
    let text = intake.text;
    let rows = || lines(text).filter(|(_, line)| !is_comment(line));
    let sample: Vec<&str> = rows().map(|(_, line)| line).take(SAMPLED).collect();
    let separator = separator(&sample);
    let comment = lines(text)
        .take_while(|(_, line)| is_comment(line))
        .map(|(_, line)| fields(line.trim_start_matches(['#', ';', '/', ' ', '\t']), separator))
        .filter(|names| names.len() > 1)
        .find_map(|names| named(&names));
    let first = sample.first().map(|row| fields(row, separator)).unwrap_or_default();
    // A row of names holds no value.
    let has_header = !first.is_empty() && first.iter().all(|field| plain::whole(field).is_none());
    let by_name = comment.or_else(|| has_header.then(|| named(&first)).flatten());
    let columns = by_name.unwrap_or_else(|| by_shape(&sample, separator));
    let meta = intake.metas.intern(Meta::default());
    for (index, (offset, line)) in rows().enumerate() {
        if index == 0 && has_header {
            continue;
        }
        intake.row("line");
        let cells = fields(line, separator);
        let mut taken = false;
        for cell in columns.iter().filter_map(|column| cells.get(*column)).filter(|cell| !cell.is_empty()) {
            let start = line.find(cell.as_str()).unwrap_or(0);
            match plain::whole(cell) {
                Some(found) => give(intake, &found, offset + start, meta),
                None => continue,
            }
            taken = true;
        }
        if !taken {
            let reason =
                if columns.is_empty() { "no column holds indicators" } else { "no indicator in its column" };
            intake.refuse("line", Refusal::skip(reason), offset..offset + line.len());
        }
    }
}

/// Reads free text.
pub fn text(intake: &mut Intake<'_>) {
    let text = intake.text;
    let meta = intake.metas.intern(Meta::default());
    for (offset, line) in lines(text) {
        if is_comment(line) {
            continue;
        }
        intake.row("line");
        let mut taken = false;
        let (line, start) = without_sink(line);
        plain::values(line, &mut |found| {
            give(intake, &found, offset + start + found.span.start, meta);
            taken = true;
        });
        if !taken {
            intake.refuse("line", Refusal::skip("no indicator in the line"), offset..offset + line.len());
        }
    }
}

fn give(intake: &mut Intake<'_>, found: &Found<'_>, at: usize, meta: u32) {
    let meta = match found.port {
        Some(port) => intake.metas.intern(Meta { ports: vec![port], ..Meta::default() }),
        None => meta,
    };
    intake.value("line", (found.kind, found.text), meta, None, at..at + found.text.len());
}

/// Lines that say something, with the byte where they begin.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = offset;
        offset += line.len();
        let line = line.trim_end();
        (!line.trim().is_empty()).then_some((start, line))
    })
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') || line.starts_with(';') || line.starts_with("//")
}

/// A line of a hosts file without the address that it sends its names to.
fn without_sink(line: &str) -> (&str, usize) {
    let mut words = line.split_ascii_whitespace();
    let sink = words.next().filter(|word| matches!(*word, "0.0.0.0" | "127.0.0.1" | "::" | "::1"));
    match sink.and(words.next()) {
        Some(name) => {
            let start = name.as_ptr() as usize - line.as_ptr() as usize;
            (line.get(start..).unwrap_or_default(), start)
        }
        None => (line, 0),
    }
}

/// What most rows have most of.
fn separator(sample: &[&str]) -> u8 {
    let count = |separator: &u8| {
        sample
            .iter()
            .map(|row| memchr::memchr_iter(*separator, row.as_bytes()).count().min(20))
            .sum::<usize>()
    };
    [b';', b'|', b'\t', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// The columns whose names say that they hold indicators.
fn named(names: &[String]) -> Option<Vec<usize>> {
    let known = |name: &str| {
        let plain: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        COLUMNS.contains(&&*plain)
            || ["sha256", "sha1", "md5", "sha512"].iter().any(|digest| plain.starts_with(digest))
    };
    let columns: Vec<usize> =
        names.iter().enumerate().filter(|(_, name)| known(name)).map(|(index, _)| index).collect();
    (!columns.is_empty()).then_some(columns)
}

/// The first column in which most rows hold an indicator. Dates and users have no such shape; links to
/// reports stand behind what they are about.
fn by_shape(sample: &[&str], separator: u8) -> Vec<usize> {
    let rows: Vec<Vec<String>> = sample.iter().map(|row| fields(row, separator)).collect();
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let holds = |column: &usize| {
        let filled: Vec<&String> =
            rows.iter().filter_map(|row| row.get(*column)).filter(|cell| !cell.is_empty()).collect();
        let shaped = filled.iter().filter(|cell| plain::whole(cell).is_some()).count();
        !filled.is_empty() && shaped * 2 > filled.len()
    };
    (0..widest).find(holds).into_iter().collect()
}
