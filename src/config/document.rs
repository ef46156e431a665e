//! Configuration files as written: every key and value with its place.
//!
//! [`File::parse`] turns one file into a [`Table`]; a mistake of syntax is reported and cut out,
//! so that one missing quote does not hide the other mistakes of the file.

use crate::diagnostic::{Diagnostic, Level};
use std::ops::Range;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// Mistakes of syntax reported for one file; what follows them is most often their consequence.
const MAX_SYNTAX_ERRORS: usize = 50;

/// One file: its text, and what is needed to turn offsets into lines and columns.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    text: String,
    line_starts: Vec<usize>,
    /// Part of the file could not be read, so that what is missing may stand there.
    pub(super) broken: bool,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) file: usize,
    /// Its bytes.
    pub(super) span: Range<usize>,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) item: Item,
}

/// A value as TOML types it.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Text(String),
    Integer(Option<i64>),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
    /// A fraction or a date: no key takes one.
    Other(&'static str),
}

/// The keys of a table, in the order written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Item {
    /// What a person calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Item::Text(_) => "a string",
            Item::Integer(_) => "a number",
            Item::Flag(_) => "true or false",
            Item::List(_) => "a list",
            Item::Table(_) => "a table",
            Item::Other(kind) => kind,
        }
    }
}

impl Table {
    pub(super) fn find(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

impl File {
    /// Parses one file; mistakes of syntax go to `problems`.
    pub(super) fn parse(
        index: usize,
        path: PathBuf,
        bytes: Vec<u8>,
        problems: &mut Vec<Diagnostic>,
    ) -> (File, Table) {
        let (text, invalid) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
            }
        };
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut file = File { path, text, line_starts, broken: false };
        if let Some(at) = invalid {
            file.broken = true;
            problems.push(Diagnostic {
                help: Some("save the file as UTF-8".into()),
                ..file.problem("syntax", at..at + 1, "not UTF-8", "expected UTF-8 text")
            });
            return (file, Table::default());
        }
        let table = file.recover(index, problems);
        (file, table)
    }

    /// Line and column, both from 1; the column counts characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The text of a span, as written.
    pub(super) fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// An error at a place of this file.
    pub(super) fn problem(
        &self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Diagnostic {
        let (line, column) = self.position(span.start);
        Diagnostic {
            level: Level::Error,
            code,
            path: self.path.clone(),
            line,
            column,
            span,
            message: message.into(),
            label: Some(label.into()),
            help: None,
        }
    }

    /// Reads what can be read: the statement around each mistake is blanked, offsets stay.
    fn recover(&mut self, index: usize, problems: &mut Vec<Diagnostic>) -> Table {
        let mut text = self.text.clone();
        for _ in 0..MAX_SYNTAX_ERRORS {
            let (table, errors) = DeTable::parse_recoverable(&text);
            let first = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
            let Some(first) = first else {
                return convert_table(index, table.into_inner());
            };
            self.broken = true;
            let at = first.span().unwrap_or(0..0);
            let unclosed = errors.iter().any(|error| error.message().starts_with("unclosed"));
            let around = statement(&DeValue::Table(table.into_inner()), at.start);
            let cut = match around {
                Some(value) if unclosed && self.position(value.start).0 < self.position(at.start).0 => {
                    problems.push(Diagnostic {
                        help: Some("close it with `]` before the next key".into()),
                        ..self.problem(
                            "syntax",
                            value.start..value.start + 1,
                            "unclosed list",
                            "never closed",
                        )
                    });
                    self.line_start(value.start)..self.line_start(at.start)
                }
                _ => {
                    problems.push(self.syntax_problem(first.message(), at.clone()));
                    self.broken_statement(&text, at.start)
                }
            };
            blank(&mut text, cut);
        }
        Table::default()
    }

    /// A mistake of syntax in words; the parser's own guess where it is a good one.
    fn syntax_problem(&self, message: &str, at: Range<usize>) -> Diagnostic {
        let rest = self.text.get(at.start..).unwrap_or_default();
        let word =
            rest.split(|c: char| c.is_whitespace() || ",]}#\"'".contains(c)).next().unwrap_or_default();
        let scalar = message.starts_with("invalid boolean")
            || message.starts_with("invalid float")
            || message.starts_with("string values must be quoted");
        if scalar && word.starts_with(|c: char| c.is_alphabetic()) {
            return Diagnostic {
                help: Some(format!("\"{word}\"")),
                ..self.problem(
                    "syntax",
                    at.start..at.start + word.len(),
                    "a string must stand in quotes",
                    "expected a string in quotes, a number, true or false",
                )
            };
        }
        let (what, expected) = match message.split_once(", expected ") {
            Some((what, expected)) => (what, format!("expected {expected}")),
            None => (message, "not TOML".to_owned()),
        };
        self.problem("syntax", at.start..at.end.max(at.start), what, expected)
    }

    /// What to cut out for a mistake at `offset`: its line, or for a header all that it heads,
    /// which would otherwise be read as keys of the table before.
    fn broken_statement(&self, text: &str, offset: usize) -> Range<usize> {
        let start = self.line_start(offset);
        let end = self.line_end(offset);
        if !text.get(start..end).unwrap_or_default().trim_start().starts_with('[') {
            return start..end;
        }
        let next = self.line_starts.iter().copied().filter(|line| *line > offset);
        let mut headers = next.filter(|line| {
            text.get(*line..self.line_end(*line)).unwrap_or_default().trim_start().starts_with('[')
        });
        start..headers.next().unwrap_or(text.len())
    }

    fn line_start(&self, offset: usize) -> usize {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        self.line_starts.get(line - 1).copied().unwrap_or(0)
    }

    fn line_end(&self, offset: usize) -> usize {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        self.line_starts.get(line).copied().unwrap_or(self.text.len())
    }
}

/// Replaces everything but line ends by blanks.
fn blank(text: &mut String, cut: Range<usize>) {
    let blanked: Vec<u8> = text
        .bytes()
        .enumerate()
        .map(|(at, byte)| if cut.contains(&at) && byte != b'\n' && byte != b'\r' { b' ' } else { byte })
        .collect();
    // Lines are cut at their ends, never inside a character.
    *text = String::from_utf8_lossy(&blanked).into_owned();
}

/// The innermost value under a key that contains the offset.
fn statement(value: &DeValue<'_>, offset: usize) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => table.iter().find_map(|(_, value)| {
            statement(value.get_ref(), offset).or_else(|| {
                let inside = value.span().start <= offset && offset <= value.span().end;
                (inside && value.get_ref().is_array()).then(|| value.span())
            })
        }),
        DeValue::Array(array) => array.iter().find_map(|value| statement(value.get_ref(), offset)),
        _ => None,
    }
}

fn convert_table(file: usize, table: DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            place: Place { file, span: key.span() },
            key: key.into_inner().into_owned(),
            value: convert(file, value.span(), value.into_inner()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.place.span.start);
    Table { entries }
}

/// Nested as deep as the parser allows, which is bounded.
fn convert(file: usize, span: Range<usize>, value: DeValue<'_>) -> Node {
    let item = match value {
        DeValue::String(text) => Item::Text(text.into_owned()),
        DeValue::Integer(number) => Item::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Item::Other("a fraction"),
        DeValue::Boolean(flag) => Item::Flag(flag),
        DeValue::Datetime(_) => Item::Other("a date"),
        DeValue::Array(array) => Item::List(
            array.into_iter().map(|value| convert(file, value.span(), value.into_inner())).collect(),
        ),
        DeValue::Table(table) => Item::Table(convert_table(file, table)),
    };
    Node { place: Place { file, span }, item }
}
