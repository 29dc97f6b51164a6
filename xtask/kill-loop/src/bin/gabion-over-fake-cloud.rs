//! The command line of gabion with the fake cloud's provider, whose cloud is another process.

use std::process::ExitCode;
use std::sync::Arc;

use gabion_kill_loop::cloud::{SOCKET, WINDOW};
use gabion_testing::fake::FakeProvider;
use gabion_testing::fake::remote::RemoteCloud;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
    let socket = std::env::var_os(SOCKET).unwrap_or_default();
    let code = gabion::run_with(std::env::args_os(), move |registry| {
        let cloud = Arc::new(RemoteCloud::new(&socket));
        registry.register(Arc::new(FakeProvider::new(cloud).with_window(WINDOW)));
    });
    ExitCode::from(code)
}
