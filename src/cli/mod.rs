//! The verbs.

/// Runs the verb given on the command line.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
