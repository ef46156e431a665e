//! Reads YAML into a tree whose every key and value knows where it stands.
//!
//! [`parse`] builds [`Node`]s from parser events instead of deserialising, because a derived
//! struct stops at the first mistake and loses places. Scalars keep the text that was written:
//! nothing is a number or a truth value until a schema asks. What makes YAML surprising is
//! refused: anchors and aliases, tags, merge keys, duplicate keys, several documents.

use super::problems::Problems;
use crate::diagnostic::{Diagnostic, Level, Source};
use granit_parser::{Event, Options, Parser, ScalarStyle};
use hashbrown::HashSet;
use std::ops::Range;

/// A rule set needs five levels; deeper nesting is a mistake or an attack on the stack.
pub const MAX_DEPTH: usize = 32;

/// A tree node takes up to 64 bytes; four million of them are 256 MB and 400,000 rows.
pub const MAX_NODES: usize = 4_000_000;

/// How often the parser is tried again behind a line that it cannot read.
const MAX_SYNTAX_ERRORS: usize = 8;

/// Larger files are not read again: each try costs two passes over the file.
const MAX_RECOVERED: usize = 8 * 1024 * 1024;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Bytes of the file.
    pub span: Range<u32>,
    /// What stands there.
    pub value: Value,
}

impl Node {
    /// Bytes of the file, for a diagnostic.
    pub fn range(&self) -> Range<usize> {
        self.span.start as usize..self.span.end as usize
    }

    /// What a person would call it.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } if is_null(text) => "nothing",
            Value::Scalar { text, .. } if text.is_empty() => "empty text",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Invalid => "something refused",
        }
    }
}

/// The shapes of YAML.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text; `plain` if it was written without quotes.
    Scalar {
        /// As written, escapes of quoted text resolved.
        text: Box<str>,
        /// Without quotes.
        plain: bool,
    },
    /// `- a` or `[a]`
    List(Vec<Node>),
    /// `a: b` or `{a: b}`
    Map(Vec<Entry>),
    /// An alias or a tagged value: already reported, to be skipped in silence.
    Invalid,
}

/// One line of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Box<str>,
    /// Where the key stands.
    pub key_span: Range<u32>,
    /// The value.
    pub value: Node,
}

impl Entry {
    /// Bytes of the key, for a diagnostic.
    pub fn key_range(&self) -> Range<usize> {
        self.key_span.start as usize..self.key_span.end as usize
    }
}

/// A parsed file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The top of the document; none if the file holds nothing.
    pub root: Option<Node>,
    /// Something could not be read, so that what seems missing may not be.
    pub broken: bool,
}

/// Is this how YAML writes nothing?
pub fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads a file. Every problem goes to `problems`; each is an error that refuses a rule set.
///
/// A line that the parser cannot read is blanked and the rest read again, so that a mistake in
/// the syntax does not hide the others.
pub fn parse(source: &Source, problems: &mut Problems) -> Tree {
    let mut reader = Reader::new(source);
    let mut failure = reader.read(&source.text);
    let broken = failure.is_some();
    let mut blanked = None;
    let mut last_line = None;
    let mut rounds = 0;
    while let Some(failed) = failure.take() {
        let (line, _) = source.position(failed.at);
        let hopeless = failed.limit || source.text.len() > MAX_RECOVERED;
        // The line after a blanked one often fails only because of it.
        if last_line.is_none_or(|last| line > last + 1) {
            problems.push_fatal(failed.diagnose(source), source);
        }
        last_line = Some(line);
        rounds += 1;
        if hopeless || rounds > MAX_SYNTAX_ERRORS {
            break;
        }
        let Some(next) = recover(source, blanked.as_deref().unwrap_or(&source.text), line) else { break };
        (blanked, reader, failure) = (Some(next.0), next.1, next.2);
    }
    for problem in reader.problems {
        problems.push_fatal(problem, source);
    }
    Tree { root: reader.root, broken }
}

/// Blanks the line that failed, or the one before if that leads further: what is not closed on
/// one line fails on the next.
fn recover<'a>(source: &'a Source, text: &str, line: usize) -> Option<(String, Reader<'a>, Option<Failure>)> {
    let mut best: Option<(String, Reader<'a>, Option<Failure>)> = None;
    for candidate in [line, line.saturating_sub(1)] {
        let (written, start) = source.line(candidate);
        let range = start..start + written.len();
        // Blanking must make progress.
        if text.get(range.clone()).is_none_or(|line| line.trim().is_empty()) {
            continue;
        }
        let mut blanked = text.to_owned();
        let blanks = " ".repeat(range.len());
        blanked.replace_range(range, &blanks);
        let mut reader = Reader::new(source);
        let failure = reader.read(&blanked);
        let reach = |failure: &Option<Failure>| failure.as_ref().map_or(usize::MAX, |failure| failure.at);
        if best.as_ref().is_none_or(|(_, _, other)| reach(&failure) > reach(other)) {
            best = Some((blanked, reader, failure));
        }
    }
    best
}

struct Failure {
    at: usize,
    message: String,
    limit: bool,
}

impl Failure {
    fn diagnose(self, source: &Source) -> Diagnostic {
        let end = source.text[self.at..].chars().next().map_or(self.at, |next| self.at + next.len_utf8());
        let code = if self.limit { "too-large" } else { "syntax" };
        let problem = Diagnostic::at(Level::Error, code, source, self.at..end, self.message);
        if self.limit { problem.help("put long lists into files named under `bulk`") } else { problem }
    }
}

/// A collection that is still open.
enum Frame {
    List {
        start: u32,
        items: Vec<Node>,
    },
    Map {
        start: u32,
        entries: Vec<Entry>,
        key: Option<(Option<Box<str>>, Range<u32>)>,
        seen: HashSet<Box<str>>,
    },
}

struct Reader<'a> {
    source: &'a Source,
    problems: Vec<Diagnostic>,
    frames: Vec<Frame>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source) -> Self {
        Reader { source, problems: Vec::new(), frames: Vec::new(), root: None, nodes: 0, documents: 0 }
    }

    /// Reads until the end or the first place that cannot be read; what was open there is closed.
    fn read(&mut self, text: &str) -> Option<Failure> {
        let failure = self.events(text);
        while let Some(frame) = self.frames.pop() {
            let end = failure.as_ref().map_or(text.len(), |failure| failure.at);
            self.close(frame, offset(end));
        }
        failure
    }

    fn events(&mut self, text: &str) -> Option<Failure> {
        if let Some(at) = memchr::memchr(0, text.as_bytes()) {
            return Some(Failure { at, message: "NUL byte in a text file".into(), limit: false });
        }
        let mut options = Options::default();
        options.set_emit_comments(false);
        options.emit_anchor_events = true;
        options.emit_unresolved_aliases = true;
        options.block_nesting_limit = MAX_DEPTH;
        options.flow_nesting_limit = MAX_DEPTH;
        let mut previous = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = error.marker().byte_offset().unwrap_or(previous);
                    let at = at.min(text.len());
                    let at = (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
                    let limit = matches!(error.kind(), granit_parser::ErrorKind::RecursionLimitExceeded);
                    let message = if limit {
                        format!("nested deeper than {MAX_DEPTH} levels")
                    } else {
                        format!("not valid YAML: {}", error.info())
                    };
                    return Some(Failure { at, message, limit });
                }
            };
            let range = span.byte_range().unwrap_or(previous..previous);
            previous = range.start;
            if self.documents > 1 {
                break;
            }
            if event.is_node() {
                self.nodes += 1;
                if self.nodes > MAX_NODES {
                    let message = format!("more than {MAX_NODES} values in one file");
                    return Some(Failure { at: range.start.min(text.len()), message, limit: true });
                }
            }
            let tag = event.tag().map(|tag| {
                let at = span.tag_span().and_then(|span| span.byte_range()).unwrap_or(range.clone());
                (tag.original(), at)
            });
            if let Some((tag, at)) = &tag {
                self.refuse(
                    "tag",
                    at.clone(),
                    format!("tags such as `{tag}` are not allowed"),
                    "remove the tag",
                );
            }
            let start = offset(range.start);
            match event {
                Event::DocumentStart(..) => {
                    self.documents += 1;
                    if self.documents > 1 {
                        let message = "a second document in one file".to_owned();
                        self.refuse("second-document", range, message, "put it into a file of its own");
                    }
                }
                Event::Scalar(text, style, ..) => {
                    let value = Value::Scalar {
                        text: text.into_owned().into_boxed_str(),
                        plain: matches!(style, ScalarStyle::Plain),
                    };
                    let value = if tag.is_some() { Value::Invalid } else { value };
                    self.add(Node { span: start..offset(range.end), value });
                }
                Event::SequenceStart(..) => self.frames.push(Frame::List { start, items: Vec::new() }),
                Event::MappingStart(..) => {
                    let seen = HashSet::new();
                    self.frames.push(Frame::Map { start, entries: Vec::new(), key: None, seen });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(frame) = self.frames.pop() {
                        self.close(frame, offset(range.end));
                    }
                }
                Event::Anchor(_, name) => {
                    let message = format!("anchors such as `&{name}` are not allowed");
                    self.refuse("anchor", range, message, "write the value where it is needed");
                }
                Event::Alias(_) | Event::UnresolvedAlias(_) => {
                    let message = "aliases are not allowed".to_owned();
                    self.refuse(
                        "alias",
                        range.clone(),
                        message,
                        "write the value itself, or quote it if it begins with `*`",
                    );
                    self.add(Node { span: start..offset(range.end), value: Value::Invalid });
                }
                _ => {}
            }
        }
        None
    }

    fn refuse(&mut self, code: &'static str, at: Range<usize>, message: String, help: &str) {
        /// One file repeats a mistake; nobody reads more, and memory is bounded.
        const ENOUGH: usize = 10_000;
        if self.problems.len() < ENOUGH {
            self.problems.push(Diagnostic::at(Level::Error, code, self.source, at, message).help(help));
        }
    }

    fn close(&mut self, frame: Frame, end: u32) {
        let node = match frame {
            Frame::List { start, items } => Node { span: start..end.max(start), value: Value::List(items) },
            Frame::Map { start, entries, .. } => {
                Node { span: start..end.max(start), value: Value::Map(entries) }
            }
        };
        self.add(node);
    }

    fn add(&mut self, node: Node) {
        let refused = match self.frames.last_mut() {
            None => {
                if self.root.is_none() {
                    self.root = Some(node);
                }
                None
            }
            Some(Frame::List { items, .. }) => {
                items.push(node);
                None
            }
            Some(Frame::Map { entries, key, seen, .. }) => match key.take() {
                Some((Some(name), key_span)) => {
                    entries.push(Entry { key: name, key_span, value: node });
                    None
                }
                Some((None, _)) => None,
                None => {
                    let (name, refused) = key_of(&node, seen);
                    *key = Some((name, node.span.clone()));
                    refused.map(|refused| (refused, node.range()))
                }
            },
        };
        if let Some(((code, message, help), at)) = refused {
            self.refuse(code, at, message, help);
        }
    }
}

type Refusal = (&'static str, String, &'static str);

/// The text of a key, unless it is refused.
fn key_of(node: &Node, seen: &mut HashSet<Box<str>>) -> (Option<Box<str>>, Option<Refusal>) {
    match &node.value {
        Value::Scalar { text, plain: true } if &**text == "<<" => {
            (None, Some(("merge-key", "merge keys are not allowed".into(), "write the values themselves")))
        }
        Value::Scalar { text, .. } => {
            if !seen.insert(text.clone()) {
                let message = format!("key `{text}` stands here twice");
                return (None, Some(("duplicate-key", message, "keep one of them")));
            }
            (Some(text.clone()), None)
        }
        Value::Invalid => (None, None),
        Value::List(_) | Value::Map(_) => (
            None,
            Some((
                "complex-key",
                "a key must be a single word".into(),
                "quote text that begins with a bracket",
            )),
        ),
    }
}

/// Files are smaller than 4 GiB, see `MAX_FILE`.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Tree, Vec<String>) {
        let source = Source::new("f", text);
        let mut problems = Problems::default();
        let tree = parse(&source, &mut problems);
        (tree, problems.finish().iter().map(|problem| problem.diagnostic.one_line()).collect())
    }

    #[test]
    fn places_and_source_text() {
        let (tree, problems) = read("a: 1e2030\nb:\n  - 'x y'\n  - {c: ~}\n");
        assert!(problems.is_empty(), "{problems:?}");
        let Some(Node { value: Value::Map(entries), .. }) = tree.root else { panic!("not a mapping") };
        assert_eq!(entries[0].value.value, Value::Scalar { text: "1e2030".into(), plain: true });
        assert_eq!(entries[0].value.span, 3..9);
        assert_eq!(entries[1].key_span, 10..11);
        let Value::List(items) = &entries[1].value.value else { panic!("not a list") };
        assert_eq!(items[0].value, Value::Scalar { text: "x y".into(), plain: false });
        assert_eq!(items[0].span, 17..22);
        let Value::Map(inner) = &items[1].value else { panic!("not a mapping") };
        assert_eq!(inner[0].value.describe(), "nothing");
    }

    #[test]
    fn refused_constructs() {
        for (name, text, expected) in [
            (
                "anchor",
                "a: &x 1\n",
                &["f:1:4: anchors such as `&x` are not allowed (write the value where it is needed)"][..],
            ),
            (
                "alias",
                "a: *x\n",
                &[
                    "f:1:4: aliases are not allowed (write the value itself, or quote it if it begins with `*`)",
                ],
            ),
            ("tag", "a: !!str 1\n", &["f:1:4: tags such as `!!str` are not allowed (remove the tag)"]),
            (
                "merge key",
                "a:\n  <<: {b: 1}\n",
                &["f:2:3: merge keys are not allowed (write the values themselves)"],
            ),
            ("duplicate key", "a: 1\nb: 2\na: 3\n", &["f:3:1: key `a` stands here twice (keep one of them)"]),
            (
                "list as key",
                "? [a]\n: 1\n",
                &["f:1:3: a key must be a single word (quote text that begins with a bracket)"],
            ),
            (
                "two documents",
                "a: 1\n---\nb: 1\n",
                &["f:2:1: a second document in one file (put it into a file of its own)"],
            ),
            ("NUL", "a: \0\n", &["f:1:4: NUL byte in a text file"]),
        ] {
            assert_eq!(read(text).1, expected, "{name}");
        }
    }

    #[test]
    fn syntax_errors_do_not_hide_the_rest() {
        let (tree, problems) = read("a: 1\nb: [1, 2\nc: 3\nd: *x\n");
        assert!(tree.broken);
        assert!(problems.len() >= 2, "{problems:?}");
        let (_, problems) = read("a: 1\n  b: 2\nc: &x 1\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("f:2:"), "{problems:?}");
        let (tree, problems) = read("a: 1\nb: 'open\nc: 3\n");
        assert!(tree.broken && !problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn depth_is_bounded() {
        for text in ["[".repeat(100_000), "{a: ".repeat(10_000), "- ".repeat(10_000), "? ".repeat(10_000)] {
            let (_, problems) = read(&text);
            assert!(!problems.is_empty());
            assert!(problems.iter().any(|problem| problem.contains("deeper than")), "{problems:?}");
        }
    }

    #[test]
    fn mutations_never_panic() {
        let seed = "schema: 1\nset: 'a'\ndefaults: {tlp: red, attack: [T1071.004]}\nindicators:\n  - {type: domain, value: \"e\\u00e7\"}\n  - &a x\n  - *a\n  - !t |\n    text\n? k\n: v\n";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..1 + state % 4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len().max(1);
                if bytes.is_empty() {
                    break;
                }
                match state >> 61 {
                    0..=3 => bytes[at] = b"\0\n\t {}[]:,-&*!|>'\"%@#?\\\xc3"[(state >> 20) as usize % 24],
                    4 | 5 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let source = Source::new("f", text);
            let mut problems = Problems::default();
            parse(&source, &mut problems);
            for problem in problems.finish() {
                problem.render(false);
            }
        }
    }
}
