//! Gathers the problems of one set, each with the line it stands in, so that they can be shown
//! after the file is gone from memory.

use crate::diagnostic::{Diagnostic, Level, Source, printable};
use hashbrown::HashMap;

/// Problems of one kind listed for a file; a list of a million bad rows must not flood a log.
const LISTED: usize = 100;

/// Bytes of a line kept on each side of what the excerpt underlines.
const EXCERPT: usize = 400;

/// A diagnostic and the piece of its file that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    line: String,
    line_start: usize,
}

impl Problem {
    /// A problem without a place in a file.
    pub fn whole(diagnostic: Diagnostic) -> Problem {
        Problem { diagnostic, line: String::new(), line_start: 0 }
    }

    /// Keeps what the excerpt needs of a line that begins at a byte of the file.
    pub fn with_line(diagnostic: Diagnostic, line: &str, line_start: usize) -> Problem {
        let at = diagnostic.span.start.saturating_sub(line_start).min(line.len());
        let from = ceil(line, at.saturating_sub(EXCERPT));
        let to = ceil(line, (at + EXCERPT).min(line.len()));
        Problem { diagnostic, line: line[from..to].to_owned(), line_start: line_start + from }
    }

    /// The problem as a compiler shows it.
    pub fn render(&self, colour: bool) -> String {
        self.diagnostic.render_line(&self.line, self.line_start, colour)
    }
}

/// The problems of one set.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    counts: HashMap<&'static str, usize>,
    cause: Option<Cause>,
}

/// Why a whole set is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    line: usize,
    /// The problem in one line.
    pub reason: String,
    /// Its place: `file:line:column`.
    pub first: String,
}

impl Problems {
    /// Adds a problem of a text at hand.
    pub fn push(&mut self, diagnostic: Diagnostic, source: &Source) {
        if self.admit(&diagnostic) {
            let (line, start) = source.line(diagnostic.line);
            self.list.push(Problem::with_line(diagnostic, line, start));
        }
    }

    /// Adds a problem that refuses the whole set; the first in the file is the cause.
    pub fn push_fatal(&mut self, diagnostic: Diagnostic, source: &Source) {
        let line = diagnostic.line;
        if self.cause.as_ref().is_none_or(|cause| line < cause.line) {
            let reason = printable(&diagnostic.message).into_owned();
            self.cause = Some(Cause { line, reason, first: diagnostic.place() });
        }
        self.push(diagnostic, source);
    }

    /// Adds a problem of a file that is not at hand.
    pub fn push_whole(&mut self, diagnostic: Diagnostic) {
        self.push_problem(Problem::whole(diagnostic));
    }

    /// Adds a problem that knows its line.
    pub fn push_problem(&mut self, problem: Problem) {
        if self.admit(&problem.diagnostic) {
            self.list.push(problem);
        }
    }

    /// What the first error says, and where.
    pub fn first_error(&self) -> Option<(String, String)> {
        let error = self.list.iter().find(|problem| problem.diagnostic.level == Level::Error)?;
        Some((printable(&error.diagnostic.message).into_owned(), error.diagnostic.place()))
    }

    /// Counts problems of a kind that are not listed.
    pub fn count_more(&mut self, code: &'static str, count: usize) {
        if count > 0 {
            *self.counts.entry(code).or_default() += count;
        }
    }

    /// Why the whole set is refused, if it is.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Adds a problem whose line the caller has at hand.
    pub fn push_line(&mut self, diagnostic: Diagnostic, line: &str, line_start: usize) {
        if self.admit(&diagnostic) {
            self.list.push(Problem::with_line(diagnostic, line, line_start));
        }
    }

    /// Takes over what was gathered apart, from what stands behind.
    pub fn absorb(&mut self, other: Problems) {
        let mut counts = self.counts.clone();
        for problem in other.list {
            let count = counts.entry(problem.diagnostic.code).or_default();
            *count += 1;
            if *count <= LISTED {
                self.list.push(problem);
            }
        }
        for (code, count) in other.counts {
            *self.counts.entry(code).or_default() += count;
        }
    }

    /// The problems in the order of the file, and how many more there were of each kind.
    pub fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by(|a, b| {
            let (a, b) = (&a.diagnostic, &b.diagnostic);
            (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column))
        });
        let Some(path) = self.list.first().map(|problem| problem.diagnostic.path.clone()) else {
            return self.list;
        };
        let mut counts: Vec<_> = self.counts.into_iter().filter(|(_, count)| *count > LISTED).collect();
        counts.sort_unstable();
        for (code, count) in counts {
            let message = format!("{} more problems `{code}` are not listed", count - LISTED);
            self.list.push(Problem::whole(Diagnostic::whole(Level::Note, code, path.clone(), message)));
        }
        self.list
    }

    fn admit(&mut self, diagnostic: &Diagnostic) -> bool {
        let count = self.counts.entry(diagnostic.code).or_default();
        *count += 1;
        *count <= LISTED
    }
}

fn ceil(line: &str, mut at: usize) -> usize {
    while at < line.len() && !line.is_char_boundary(at) {
        at += 1;
    }
    at.min(line.len())
}
