//! Gathers the problems of one set, each with the line it stands in, so that they can be shown
//! after the file is gone from memory.

use crate::diagnostic::{Diagnostic, Level, Source};
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
    errors: usize,
}

impl Problems {
    /// Adds a problem of a text at hand.
    pub fn push(&mut self, diagnostic: Diagnostic, source: &Source) {
        if self.admit(&diagnostic) {
            let (line, start) = source.line(diagnostic.line);
            self.list.push(Problem::with_line(diagnostic, line, start));
        }
    }

    /// Adds a problem whose line the caller has at hand.
    pub fn push_line(&mut self, diagnostic: Diagnostic, line: &str, line_start: usize) {
        if self.admit(&diagnostic) {
            self.list.push(Problem::with_line(diagnostic, line, line_start));
        }
    }

    /// Adds a problem of a whole file.
    pub fn push_whole(&mut self, diagnostic: Diagnostic) {
        if self.admit(&diagnostic) {
            self.list.push(Problem::whole(diagnostic));
        }
    }

    /// Takes over what was gathered apart.
    pub fn absorb(&mut self, other: Problems) {
        self.errors += other.errors;
        for (code, count) in other.counts {
            *self.counts.entry(code).or_default() += count;
        }
        self.list.extend(other.list);
    }

    /// Errors so far, listed or not.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The first error, in the order of the file.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        let errors = self.list.iter().map(|problem| &problem.diagnostic);
        errors.filter(|problem| problem.level == Level::Error).min_by_key(|problem| problem.line)
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
        if diagnostic.level == Level::Error {
            self.errors += 1;
        }
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
