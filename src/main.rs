//! The binary: everything is in the library, so that tests and benches reach it.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    kraite_streams::cli::run()
}
