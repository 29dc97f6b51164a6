//! The program `gabion`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gabion::run(std::env::args_os()))
}
