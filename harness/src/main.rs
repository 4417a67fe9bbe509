//! The `kiln` binary; see the library's `cli` for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiln::cli::main()
}
