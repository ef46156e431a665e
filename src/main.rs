//! The `roje` command.

fn main() -> std::process::ExitCode {
    // For tests that compare what is found with vector instructions and without.
    if std::env::var_os("ROJE_PORTABLE").is_some() {
        roje::detect::use_portable();
    }
    roje::cli::main()
}
