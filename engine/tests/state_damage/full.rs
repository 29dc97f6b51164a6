//! A disk that is full, and a file that may not grow.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{SqliteStore, StateStore};
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};

use crate::support::{block_on, temporary};

const STORE: &str = "GABION_TEST_FULL_STORE";

/// What the other process does: it commits until it cannot, and says how far it came and why it ended.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other process gets its orders from its parent test"
)]
fn other_process() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    block_on(async {
        let error = write_until_it_fails(&path).await;
        println!("\nerror {error}");
    });
}

async fn write_until_it_fails(path: &Path) -> String {
    let store = SqliteStore::at(path);
    match work(&store, 2000).await {
        Err(error) => error,
        Ok(()) => panic!("the disk was never full"),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the parent test reads it, and learns what was acknowledged even if this process is killed"
)]
async fn work(store: &SqliteStore, count: u64) -> Result<(), String> {
    let said = |error: gabion_engine::state::StoreError| error.to_string();
    let replaces = store.lease().await.map_err(said)?.map(|view| view.seen());
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: creation().at,
        replaces,
    };
    let epoch = store.take_lease(request).await.map_err(said)?.epoch;
    let mut sequence = store.load().await.map_err(said)?.head.sequence;
    let mut bodies = vec![lease_taken()];
    for _ in 0..count {
        let number = sequence + 1;
        bodies.push(create(number, number, &format!("r{number}")));
        let request = AppendRequest {
            epoch,
            expected_sequence: sequence,
            events: events(sequence + 1, epoch, std::mem::take(&mut bodies)),
        };
        sequence = store.append(request).await.map_err(said)?.sequence;
        println!("\nserial {sequence}");
        bodies.push(succeeded(number, "id", 1));
    }
    store.release(epoch).await.map_err(said)
}

/// Runs the other process, and returns the last serial that it was told to be durable, and why it ended.
fn run(command: &mut Command, store: &Path) -> (u64, String) {
    let mut child = command
        .args([
            "--exact",
            "full::other_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut acknowledged, mut why) = (0, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(serial) = line.strip_prefix("serial ") {
            acknowledged = serial.parse().unwrap();
        } else if let Some(error) = line.strip_prefix("error ") {
            error.clone_into(&mut why);
        }
    }
    child.wait().unwrap();
    (acknowledged, why)
}

/// Asserts that everything that was acknowledged is there, and that it goes on once there is room.
async fn whole(path: &Path, acknowledged: u64, what: &str) {
    let store = SqliteStore::at(path);
    let state = store.load().await.unwrap().state;
    assert!(
        state.serial >= acknowledged,
        "{what}: {} of {acknowledged}",
        state.serial
    );
    let found = verify(&store).await.unwrap();
    assert_eq!(found.damage, Vec::<String>::new(), "{what}");
    work(&store, 3).await.unwrap();
    assert!(store.load().await.unwrap().state.serial > state.serial, "{what}");
}

#[tokio::test]
async fn files_that_may_not_grow_lose_nothing_that_was_acknowledged() {
    let directory = temporary();
    let path = directory.path().join("state.db");
    SqliteStore::at(&path).create(creation()).await.unwrap();
    for kilobytes in [60, 130, 260, 300, 420, 500] {
        // The signal that comes with the limit is ignored, as by programs that meet a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kilobytes * 2);
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap());
        let (acknowledged, why) = run(&mut command, &path);
        println!("{kilobytes} kB: serial {acknowledged}, {why}");
        let what = format!("{kilobytes} kB: {why}");
        assert!(why.contains(&path.display().to_string()), "{what}");
        whole(&path, acknowledged, &what).await;
    }
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"])
        .arg(directory.path())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped 1: no file system can be mounted here");
        return;
    }
    let _mounted = Mounted(directory.path().to_owned());
    let path = directory.path().join("state.db");
    SqliteStore::at(&path).create(creation()).await.unwrap();
    let (acknowledged, why) = run(&mut Command::new(std::env::current_exe().unwrap()), &path);
    println!("serial {acknowledged}, {why}");
    assert!(acknowledged > 10 && why.contains("full"), "{acknowledged}: {why}");
    // Reading needs no room; writing does, and says so again.
    let store = SqliteStore::at(&path);
    assert!(store.load().await.unwrap().state.serial >= acknowledged);
    drop(store);
    let remounted = Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(directory.path())
        .status();
    assert!(remounted.unwrap().success());
    whole(&path, acknowledged, &why).await;
}
