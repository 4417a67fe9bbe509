//! The `qwen2` program. Exit status 0: done; 2: bad input, with one line on stderr that says what is wrong.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
