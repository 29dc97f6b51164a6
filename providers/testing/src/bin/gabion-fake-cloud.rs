//! The fake cloud as a process of its own, for tests that kill gabion.
//!
//! `gabion-fake-cloud SOCKET [SEED]` serves until it is killed. Once the socket exists it answers.

use std::io;
use std::process::ExitCode;

use gabion_testing::fake::{FakeCloud, remote};
use tokio::net::UnixListener;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(socket) = arguments.next() else {
        return complain("usage: gabion-fake-cloud SOCKET [SEED]");
    };
    let seed = match arguments.next().map(|seed| seed.parse()) {
        Some(Ok(seed)) => seed,
        Some(Err(_)) => return complain("SEED is no number"),
        None => 0,
    };
    match serve(&socket, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{socket}: {error}")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(socket: &str, seed: u64) -> io::Result<()> {
    remote::serve(UnixListener::bind(socket)?, FakeCloud::new(seed)).await
}

#[expect(clippy::print_stderr, reason = "a program says on stderr why it ends")]
fn complain(message: &str) -> ExitCode {
    eprintln!("gabion-fake-cloud: {message}");
    ExitCode::FAILURE
}
