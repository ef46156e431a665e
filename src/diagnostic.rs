//! Problems in files that people write: what is wrong, where, and what was expected.
//!
//! Configuration and rule files report through one [`Diagnostic`], so that `check`, a reload and
//! the start print the same `file:line:column` with the same excerpt. A [`Source`] turns byte
//! offsets into lines and columns. What files contain is escaped before it is printed, so that a
//! rule file cannot drive a terminal.

use annotate_snippets::{AnnotationKind, Level as Severity, Origin, Renderer, Snippet};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing; nothing is refused.
    Note,
    /// Accepted, but surely not what was meant.
    Warning,
    /// The row, or the whole file, is refused.
    Error,
}

impl Level {
    /// The name in output.
    pub fn name(self) -> &'static str {
        match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One problem at one place of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// A stable short name, such as `unknown-key`; groups problems of one kind.
    pub code: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Line, from 1; 0 when the problem has no place in the file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of the file that the excerpt underlines.
    pub span: Range<usize>,
    /// What is wrong, lower case, one line.
    pub message: String,
    /// What was expected at the place; stands under the excerpt.
    pub label: Option<String>,
    /// What to type instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A problem at a span of a source.
    pub fn at(
        level: Level,
        code: &'static str,
        source: &Source,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let (line, column) = source.position(span.start);
        let path = source.path.clone();
        Diagnostic { level, code, path, line, column, span, message: message.into(), label: None, help: None }
    }

    /// A problem of a whole file, without a place in it.
    pub fn whole(
        level: Level,
        code: &'static str,
        path: impl Into<PathBuf>,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            level,
            code,
            path: path.into(),
            line: 0,
            column: 0,
            span: 0..0,
            message: message.into(),
            label: None,
            help: None,
        }
    }

    /// The same with what was expected at the place.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = Some(label.into());
        self
    }

    /// The same with what to type instead.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// `file:line:column`, escaped; the file alone if the problem has no place in it.
    pub fn place(&self) -> String {
        let path = self.path.to_string_lossy();
        let path = printable(&path);
        if self.line == 0 { path.into_owned() } else { format!("{path}:{}:{}", self.line, self.column) }
    }

    /// `file:line:column: message`, for logs and editors.
    pub fn one_line(&self) -> String {
        let mut line = format!("{}: {}", self.place(), printable(&self.message));
        if let Some(help) = &self.help {
            // Writing to a String cannot fail.
            let _ = write!(line, " ({})", printable(help));
        }
        line
    }

    /// The object of `--format json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "level": self.level.name(),
            "code": self.code,
            "file": self.path.to_string_lossy(),
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "expected": self.label,
            "help": self.help,
        })
    }

    /// The problem as a compiler shows it, with the line of `source` it stands in.
    pub fn render(&self, source: &str, colour: bool) -> String {
        let start = floor_char_boundary(source, self.span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        self.render_line(&source[line_start..line_end], line_start, colour)
    }

    /// The same for who kept only the line: its text, and where in the file it begins.
    pub fn render_line(&self, line: &str, line_start: usize, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let severity = match self.level {
            Level::Note => Severity::NOTE,
            Level::Warning => Severity::WARNING,
            Level::Error => Severity::ERROR,
        };
        let path = self.path.to_string_lossy();
        let path = printable(&path);
        let title = severity.primary_title(printable(&self.message)).id(self.code);
        if self.line == 0 {
            let mut group = title.element(Origin::path(path));
            if let Some(help) = &self.help {
                group = group.element(Severity::HELP.message(printable(help)));
            }
            return renderer.render(&[group]) + "\n";
        }
        let start = self.span.start.saturating_sub(line_start);
        let end = self.span.end.saturating_sub(line_start).max(start);
        let (text, underlined) = excerpt(line.trim_end_matches('\r'), start..end);
        // The renderer counts columns in the excerpt, which may lack the head of a long line.
        let counted = text[..underlined.start].chars().count() + 1;
        let shown = format!("{path}:{}:{counted}", self.line);
        let label = self.label.as_deref().map(printable);
        let annotation = AnnotationKind::Primary.span(underlined).label(label);
        let snippet = Snippet::source(text).path(path).line_start(self.line).annotation(annotation);
        let mut group = title.element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Severity::HELP.message(printable(help)));
        }
        let mut text = renderer.render(&[group]) + "\n";
        if counted != self.column
            && let Some(header) = text.find('\n')
            && let Some(at) = text[header..].find(&shown)
        {
            text.replace_range(header + at..header + at + shown.len(), &self.place());
        }
        text
    }
}

/// Problems as SARIF 2.1.0, which code hosts and editors show where they stand.
pub fn sarif(problems: &[&Diagnostic]) -> serde_json::Value {
    use serde_json::json;
    let mut codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<_> = problems
        .iter()
        .map(|problem| {
            let mut text = problem.message.clone();
            for more in [&problem.label, &problem.help].into_iter().flatten() {
                // Writing to a String cannot fail.
                let _ = write!(text, " ({more})");
            }
            let mut place = json!({ "artifactLocation": { "uri": uri(&problem.path) } });
            if problem.line > 0 {
                place["region"] = json!({ "startLine": problem.line, "startColumn": problem.column });
            }
            json!({
                "ruleId": problem.code,
                "level": problem.level.name(),
                "message": { "text": text },
                "locations": [{ "physicalLocation": place }],
            })
        })
        .collect();
    let rules: Vec<_> = codes.iter().map(|code| json!({ "id": code })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "roje", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative URI, or an absolute one.
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    if path.is_absolute() {
        uri.push_str("file://");
    }
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri
}

/// How many problems there are of each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of [`Level::Error`].
    pub errors: usize,
    /// Of [`Level::Warning`].
    pub warnings: usize,
    /// Of [`Level::Note`].
    pub notes: usize,
}

impl Counts {
    /// Counts the levels.
    pub fn of<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Counts {
        let mut counts = Counts::default();
        for diagnostic in diagnostics {
            match diagnostic.level {
                Level::Error => counts.errors += 1,
                Level::Warning => counts.warnings += 1,
                Level::Note => counts.notes += 1,
            }
        }
        counts
    }
}

/// A file's text with an index of its lines.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    line_starts: Vec<usize>,
    /// Characters before every [`STEP`]th byte; empty if every byte is one.
    characters: Vec<usize>,
}

/// Files with all their rows on one line would make counting columns quadratic.
const STEP: usize = 1024;

impl Source {
    /// Indexes the lines of a text.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        let text = text.into();
        let mut line_starts = vec![0];
        line_starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        let mut characters = Vec::new();
        if !text.is_ascii() {
            let mut counted = 0;
            for step in text.as_bytes().chunks(STEP) {
                characters.push(counted);
                counted += step.iter().filter(|&&byte| is_first_byte(byte)).count();
            }
            characters.push(counted);
        }
        Source { path: path.into(), text, line_starts, characters }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Line and column of a byte, both from 1; columns are characters.
    ///
    /// An offset past the end is the end; one inside a character is that character.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = floor_char_boundary(&self.text, offset);
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, self.characters_before(offset) - self.characters_before(start) + 1)
    }

    fn characters_before(&self, offset: usize) -> usize {
        let Some(&counted) = self.characters.get(offset / STEP) else { return offset };
        let rest = self.text.as_bytes().get(offset / STEP * STEP..offset).unwrap_or_default();
        counted + rest.iter().filter(|&&byte| is_first_byte(byte)).count()
    }

    /// The line, counted from 1, without its break, and the offset where it begins.
    pub fn line(&self, line: usize) -> (&str, usize) {
        let Some(&start) = line.checked_sub(1).and_then(|index| self.line_starts.get(index)) else {
            return ("", self.text.len());
        };
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        (self.text[start..end].trim_end_matches('\r'), start)
    }
}

/// The candidate that was probably meant by a misspelt name.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Names are short; the distance is quadratic and the name comes from a file.
    const LONGEST: usize = 64;
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    if name.len() > LONGEST {
        return None;
    }
    let written = plain(name);
    // A third of the letters may differ: `tpl` is `tlp`, `sverty` is `severity`, `x` is nothing.
    let tolerated = written.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= tolerated && *distance < candidate.chars().count().max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The text with everything that could drive a terminal or hide text written as `\u{…}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unprintable(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Controls, and the format characters that reorder or hide text (bidirectional, zero width, BOM,
/// line and paragraph separators, tags).
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What fits a line of the terminal around the span, with one printable character for each
/// character, so that carets stay under what they mean.
fn excerpt(line: &str, span: Range<usize>) -> (String, Range<usize>) {
    const BEFORE: usize = 60;
    const AFTER: usize = 80;
    let start = floor_char_boundary(line, span.start);
    let end = floor_char_boundary(line, span.end).max(start);
    let from = line[..start].char_indices().rev().nth(BEFORE - 1).map_or(0, |(at, _)| at);
    let to = line[start..].char_indices().nth(AFTER).map_or(line.len(), |(at, _)| start + at);
    let mut text = String::with_capacity(to - from + 8);
    if from > 0 {
        text.push('…');
    }
    let mut underlined = 0..0;
    for (at, character) in line[from..to].char_indices().map(|(at, character)| (from + at, character)) {
        if at == start {
            underlined.start = text.len();
        }
        text.push(match character {
            '\t' => ' ',
            _ if is_unprintable(character) => char::REPLACEMENT_CHARACTER,
            _ => character,
        });
        if at < end {
            underlined.end = text.len();
        }
    }
    if start == to {
        underlined.start = text.len();
    }
    underlined.end = underlined.end.max(underlined.start);
    if to < line.len() {
        text.push('…');
    }
    (text, underlined)
}

/// Not a continuation byte of UTF-8.
fn is_first_byte(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let source = Source::new("a.yaml", "ab\r\nçd: x\n\nlast");
        for (name, offset, expected) in [
            ("first byte", 0, (1, 1)),
            ("second line", 4, (2, 1)),
            ("inside a character", 5, (2, 1)),
            ("after a wide character", 6, (2, 2)),
            ("empty line", 11, (3, 1)),
            ("last line", 12, (4, 1)),
            ("past the end", 99, (4, 5)),
        ] {
            assert_eq!(source.position(offset), expected, "{name}");
        }
        let long = Source::new("l", format!("x\n{}y", "ç".repeat(5000)));
        assert_eq!(long.position(2 + 10_000), (2, 5001));
        assert_eq!(long.position(2 + 2 * 512), (2, 513));
        assert_eq!(source.line(1), ("ab", 0));
        assert_eq!(source.line(2), ("çd: x", 4));
        assert_eq!(source.line(0).0, "");
        assert_eq!(source.line(9).0, "");
    }

    #[test]
    fn rendered() {
        let source = Source::new("rules.d/c2.yaml", "set: x\n  tpl: red\n");
        let problem = Diagnostic::at(Level::Error, "unknown-key", &source, 9..12, "unknown key `tpl`")
            .label("expected a key of `defaults`")
            .help("the nearest key is `tlp`");
        assert_eq!(
            problem.render(&source.text, false),
            "error[unknown-key]: unknown key `tpl`
 --> rules.d/c2.yaml:2:3
  |
2 |   tpl: red
  |   ^^^ expected a key of `defaults`
  |
  = help: the nearest key is `tlp`
"
        );
        assert_eq!(problem.one_line(), "rules.d/c2.yaml:2:3: unknown key `tpl` (the nearest key is `tlp`)");
        assert_eq!(problem.json()["column"], 3);
        assert!(problem.render(&source.text, true).contains("\u{1b}["));
    }

    #[test]
    fn rendered_without_place() {
        let problem = Diagnostic::whole(Level::Warning, "unreadable", "x.yaml", "cannot read: denied");
        assert_eq!(problem.render("", false), "warning[unreadable]: cannot read: denied\n--> x.yaml\n");
        assert_eq!(problem.one_line(), "x.yaml: cannot read: denied");
    }

    #[test]
    fn long_lines_are_cut_around_the_span() {
        let text = format!("{}HERE{}", "a".repeat(100_000), "b".repeat(100_000));
        let source = Source::new("x", text);
        let problem = Diagnostic::at(Level::Error, "c", &source, 100_000..100_004, "m");
        let shown = problem.render(&source.text, false);
        assert!(shown.contains("x:1:100001"), "{shown}");
        assert!(shown.contains("^^^^") && shown.contains("HERE"), "{shown}");
        assert!(shown.len() < 1000);
    }

    #[test]
    fn nothing_in_a_file_drives_the_terminal() {
        let nasty = "a\u{1b}[2Jb\u{9b}31m\u{202e}c\u{200b}\u{7f}\0";
        let source = Source::new(format!("{nasty}.yaml"), format!("{nasty}: 1\n"));
        let problem =
            Diagnostic::at(Level::Error, "unknown-key", &source, 0..3, nasty).label(nasty).help(nasty);
        for shown in [problem.render(&source.text, false), problem.one_line(), problem.place()] {
            let left: Vec<char> = shown.chars().filter(|&c| c != '\n' && is_unprintable(c)).collect();
            assert!(left.is_empty(), "{left:?} in {shown:?}");
        }
    }

    #[test]
    fn any_span_renders() {
        let text = "aç\t\nb\r\n\nλλ";
        let source = Source::new("x", text);
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let problem = Diagnostic::at(Level::Note, "c", &source, start..end, "m");
                assert!(problem.render(text, false).starts_with("note[c]: m\n"), "{start}..{end}");
            }
        }
    }

    #[test]
    fn nearest_names() {
        let keys = ["tlp", "severity", "valid_from", "valid_until", "confidence", "id"];
        for (written, expected) in [
            ("tpl", Some("tlp")),
            ("sverity", Some("severity")),
            ("valid-untill", Some("valid_until")),
            ("Confidence", Some("confidence")),
            ("comment", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }
}
