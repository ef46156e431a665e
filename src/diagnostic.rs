//! Problems in files that people write: what is wrong, where, and what was expected.
//!
//! Configuration and rule files report through one [`Diagnostic`], so that `check`, a reload and
//! the start print the same `file:line:column` with the same excerpt.

use std::ops::Range;
use std::path::PathBuf;

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
