//! The SQLite store: what is damaged is refused, and never taken for an empty or another state.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gabion_engine::state::sqlite::SqliteStore;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{State, StateStore, StoreError};
use gabion_testing::store_events::{
    create, creation, delete, deleted, events, holder, lease_taken, succeeded,
};
use rusqlite::Connection;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place {
        path: directory.path().join("state.db"),
        _directory: directory,
    }
}

/// Makes a state with a few objects and returns it.
async fn fill(path: &Path, commits: u64) -> State {
    let store = SqliteStore::at(path);
    store.create(creation()).await.unwrap();
    let grant = store
        .take_lease(LeaseRequest {
            holder: holder("ada"),
            length: std::time::Duration::from_secs(30),
            at: creation().at,
            replaces: None,
        })
        .await
        .unwrap();
    let mut bodies = vec![vec![lease_taken()]];
    for n in 1..=commits {
        bodies.push(vec![create(n, n, &format!("r{n}"))]);
        bodies.push(vec![succeeded(n, &format!("id-{n}"), 1)]);
    }
    bodies.push(vec![delete(99, 1, "r1")]);
    bodies.push(vec![deleted(99)]);
    let mut sequence = 1;
    for bodies in bodies {
        let events = events(sequence + 1, grant.epoch, bodies);
        let request = AppendRequest {
            epoch: grant.epoch,
            expected_sequence: sequence,
            events,
        };
        sequence = store.append(request).await.unwrap().sequence;
    }
    store.load().await.unwrap().state
}

async fn refused(path: &Path) -> String {
    let store = SqliteStore::at(path);
    match store.load().await {
        Err(error @ (StoreError::Unreadable { .. } | StoreError::NewerFormat { .. })) => {
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{text}");
            // Nor is it made anew.
            let again = store.create(creation()).await;
            assert!(
                matches!(
                    again,
                    Err(StoreError::Exists { .. } | StoreError::Unreadable { .. })
                ),
                "{again:?}"
            );
            text
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_state_is_refused() {
    let place = place();
    for (content, why) in [
        (&b""[..], "it is empty"),
        (b"hello, this is not a database", "it is not an SQLite database"),
        (b"SQLite format 3\0short", "within its header"),
    ] {
        std::fs::write(&place.path, content).unwrap();
        let text = refused(&place.path).await;
        assert!(text.contains(why), "{text}");
    }
    std::fs::remove_file(&place.path).unwrap();
    std::fs::create_dir(&place.path).unwrap();
    assert!(refused(&place.path).await.contains("it is not a file"));
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let place = place();
    let connection = Connection::open(&place.path).unwrap();
    connection
        .execute_batch("CREATE TABLE bookmarks (url TEXT)")
        .unwrap();
    drop(connection);
    assert!(refused(&place.path).await.contains("not one of gabion's"));
}

#[tokio::test]
async fn a_newer_format_is_refused_before_anything_is_written() {
    let place = place();
    fill(&place.path, 1).await;
    let connection = Connection::open(&place.path).unwrap();
    connection.pragma_update(None, "user_version", 3).unwrap();
    drop(connection);
    let before = std::fs::read(&place.path).unwrap();
    assert!(refused(&place.path).await.contains("format 3"));
    let store = SqliteStore::at(&place.path);
    let lease = store.lease().await;
    assert!(
        matches!(lease, Err(StoreError::NewerFormat { found: 3, .. })),
        "{lease:?}"
    );
    drop(store);
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_ends_early_is_refused_at_every_page() {
    let place = place();
    fill(&place.path, 4).await;
    let whole = std::fs::read(&place.path).unwrap();
    let mut length = whole.len() - 1;
    while length > 0 {
        std::fs::write(&place.path, &whole[..length]).unwrap();
        refused(&place.path).await;
        length = length.saturating_sub(509);
    }
}

#[tokio::test]
async fn a_flipped_bit_never_gives_another_state() {
    let place = place();
    let state = fill(&place.path, 4).await;
    let whole = std::fs::read(&place.path).unwrap();
    let (mut unharmed, mut noticed) = (0, 0);
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&place.path, &damaged).unwrap();
        match SqliteStore::at(&place.path).load().await {
            // Not every byte carries something, or something that loading reads.
            Ok(loaded) => {
                unharmed += 1;
                assert_eq!(loaded.state, state, "byte {at}");
            }
            Err(_) => noticed += 1,
        }
    }
    assert!(
        noticed > 50 && unharmed > 50,
        "{noticed} noticed, {unharmed} unharmed"
    );
}

#[tokio::test]
async fn altered_rows_are_noticed() {
    for (change, what) in [
        (
            "UPDATE records SET body = replace(body, 'id-2', 'id-9')",
            "a record was altered",
        ),
        (
            "DELETE FROM records WHERE body LIKE '%gabion_data.r3%'",
            "it holds 2 records, and the log gave 3",
        ),
        (
            "UPDATE meta SET value = replace(value, 'tests', 'other') WHERE key = 'beside'",
            "it was altered",
        ),
        ("DELETE FROM meta WHERE key = 'head'", "it is missing"),
        (
            "DELETE FROM events WHERE sequence = (SELECT max(sequence) FROM events)",
            "does not end with event",
        ),
        ("DELETE FROM events", "does not end with event"),
    ] {
        let place = place();
        fill(&place.path, 4).await;
        let connection = Connection::open(&place.path).unwrap();
        assert!(connection.execute(change, []).unwrap() > 0, "{change}");
        drop(connection);
        let text = refused(&place.path).await;
        assert!(text.contains(what), "{change}: {text}");
    }
}

#[tokio::test]
async fn verification_names_an_altered_event() {
    for (change, what) in [
        (
            "UPDATE events SET body = replace(body, '\"step\":0', '\"step\":1') WHERE sequence = 3",
            "event 3 was altered",
        ),
        ("DELETE FROM events WHERE sequence = 4", "event 4 is missing"),
    ] {
        let place = place();
        fill(&place.path, 2).await;
        let connection = Connection::open(&place.path).unwrap();
        assert_eq!(connection.execute(change, []).unwrap(), 1, "{change}");
        drop(connection);
        let found = verify(&SqliteStore::at(&place.path)).await.unwrap();
        assert!(found.damage[0].contains(what), "{found:?}");
    }
}

#[tokio::test]
async fn a_missing_file_with_its_log_left_is_no_new_project() {
    let place = place();
    fill(&place.path, 1).await;
    std::fs::remove_file(&place.path).unwrap();
    let store = SqliteStore::at(&place.path);
    assert!(matches!(store.load().await, Err(StoreError::NotFound { .. })));
    std::fs::write(place.path.with_file_name("state.db-wal"), b"left").unwrap();
    assert!(refused(&place.path).await.contains("write-ahead log"));
}

#[tokio::test]
async fn a_file_replaced_while_in_use_is_noticed() {
    let place = place();
    fill(&place.path, 1).await;
    let store = SqliteStore::at(&place.path);
    store.load().await.unwrap();
    let copy = place.path.with_file_name("copy");
    std::fs::copy(&place.path, &copy).unwrap();
    std::fs::rename(&copy, &place.path).unwrap();
    let text = store.load().await.unwrap_err().to_string();
    assert!(text.contains("replaced by another file"), "{text}");
}

#[tokio::test]
async fn a_creation_that_was_interrupted_leaves_nothing_in_the_way() {
    let place = place();
    std::fs::write(place.path.with_file_name("state.db.new"), b"half").unwrap();
    fill(&place.path, 1).await;
    let left: Vec<_> = std::fs::read_dir(place.path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("new"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_state_is_closed_to_other_users() {
    let root = place();
    let directory = root.path.with_file_name(".gabion");
    let path = directory.join("state.db");
    fill(&path, 1).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
