//! The command line of gabion with the fake cloud's provider, whose cloud is another process.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use gabion_kill_loop::cloud::{SOCKET, WINDOW};
use gabion_kill_loop::gate::{GATE, guard};
use gabion_testing::fake::FakeProvider;
use gabion_testing::fake::remote::RemoteCloud;

#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn main() -> ExitCode {
    let socket = std::env::var_os(SOCKET).unwrap_or_default();
    let gate = std::env::var_os(GATE).map(PathBuf::from);
    let code = gabion::run_with(std::env::args_os(), move |registry| {
        let cloud = Arc::new(RemoteCloud::new(&socket));
        registry.register(Arc::new(FakeProvider::new(cloud).with_window(WINDOW)));
        if let Some(gate) = &gate {
            guard(registry, gate);
        }
    });
    ExitCode::from(code)
}
