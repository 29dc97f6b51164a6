//! The shim alone, for this crate's tests; the `gabion` binary has it as `gabion agent unit-exec`.
//!
//! `gabion-unit-shim exec DIR --operation ID --epoch N` becomes the unit's program.
//! `gabion-unit-shim agent container-keep DIR` runs the unit's container, as every program does that runs the shim.
//! `gabion-unit-shim start DIR` starts the unit again from its record and then waits to be killed.

use std::path::PathBuf;
use std::process::ExitCode;

use gabion_host::container::keep;
use gabion_host::unit::{ShimRequest, StartRequest, UnitDirectory, start, unit_exec};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["exec", directory, "--operation", operation, "--epoch", epoch] => {
            let Ok(epoch) = epoch.parse() else {
                return ExitCode::from(2);
            };
            let request = ShimRequest {
                directory: PathBuf::from(directory),
                operation: (*operation).to_owned(),
                epoch,
            };
            match unit_exec(&request) {
                Ok(()) => ExitCode::SUCCESS,
                // It has said why.
                Err(_) => ExitCode::FAILURE,
            }
        }
        ["agent", "container-keep", directory] => ExitCode::from(keep(&UnitDirectory::at(*directory))),
        ["start", directory] => match start_and_wait(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => ExitCode::from(2),
    }
}

fn start_and_wait(directory: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shim = std::env::current_exe()?.to_string_lossy().into_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        start(&StartRequest {
            directory: UnitDirectory::at(directory),
            shim: vec![shim, "exec".to_owned()],
            fence: None,
        })
        .await?;
        std::future::pending().await
    })
}
