//! What people see: colour on a terminal only, tables that line up, errors in one voice.

use crate::alert::commands_terminal;
use crate::diagnostic::Diagnostic;
use crate::rules::Problem;
use std::io::{IsTerminal, Write};

/// Whether standard output may carry colour.
pub fn colour_out() -> bool {
    std::io::stdout().is_terminal() && colour_wanted()
}

/// Whether standard error may carry colour.
pub fn colour_err() -> bool {
    std::io::stderr().is_terminal() && colour_wanted()
}

/// `NO_COLOR` (no-color.org) and dumb terminals.
fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints an error and what caused it.
pub fn error(error: &anyhow::Error) {
    let (red, plain) = if colour_err() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut chain: Vec<String> = error
        .chain()
        .filter(|cause| !cause.is::<super::Exit>())
        .map(|cause| escape(&cause.to_string()))
        .filter(|text| !text.starts_with("exit ") || text.len() > 8)
        .collect();
    // Many errors repeat their cause in their own words.
    let mut said = String::new();
    chain.retain(|text| {
        let new = !said.ends_with(text.as_str());
        said.push_str(text);
        new
    });
    if !chain.is_empty() {
        eprintln!("{red}roje: error:{plain} {}", chain.join(": "));
    }
}

/// Whether the reader of standard output has gone, which is no error of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Text with control characters escaped: what a sender or a file says never steers a terminal.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => escaped.push(character),
            _ if commands_terminal(character) => escaped.extend(character.escape_default()),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Prints problems with their excerpts; the files are read again for them.
pub fn diagnostics(out: &mut dyn Write, diagnostics: &[Diagnostic], colour: bool) -> std::io::Result<()> {
    for diagnostic in diagnostics {
        let source = std::fs::read(&diagnostic.path).unwrap_or_default();
        writeln!(out, "{}", diagnostic.render(&String::from_utf8_lossy(&source), colour))?;
    }
    Ok(())
}

/// Prints problems of rule files, which keep the line they speak of: lists may be too long to be
/// read again.
pub fn problems<'a>(
    out: &mut dyn Write,
    problems: impl IntoIterator<Item = &'a Problem>,
    colour: bool,
) -> std::io::Result<()> {
    for problem in problems {
        writeln!(out, "{}", problem.render(colour))?;
    }
    Ok(())
}

/// A table whose columns line up; numbers stand right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|name| name.to_string()));
    for row in rows {
        // A name with a line end in it would look like a row of its own.
        table.add_row(row.iter().map(|cell| escape(cell).replace('\n', "\\n").replace('\t', "\\t")));
    }
    for index in 0..header.len() {
        let numbers =
            rows.iter().filter_map(|row| row.get(index)).all(|cell| cell.chars().all(|c| c.is_ascii_digit()));
        if numbers && let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// 1234567 as `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
