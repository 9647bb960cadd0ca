//! The command line `shoal`.

fn main() -> std::process::ExitCode {
    shoal_client::cli::main()
}
