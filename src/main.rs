//! The `roje` command.

fn main() -> std::process::ExitCode {
    roje::cli::main()
}
