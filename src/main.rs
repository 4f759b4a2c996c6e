//! The program: [`seawall::cli`] under the name it was called by.

use std::process::ExitCode;

fn main() -> ExitCode {
    seawall::cli::main(std::env::args_os())
}
