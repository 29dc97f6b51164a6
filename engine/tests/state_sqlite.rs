//! The SQLite store: what is damaged is refused, and never taken for an empty or another state.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gabion_engine::state::event::EventBody;
use gabion_engine::state::sqlite::SqliteStore;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{State, StateStore, StoreError};
use gabion_testing::store_events::{
    create, creation, delete, deleted, events, holder, lease_taken, succeeded,
};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

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

/// Makes a state with a few objects and returns it; its records have all of the log in them.
async fn fill(path: &Path, commits: u64) -> State {
    write(path, commits, true).await
}

/// Makes a state by a run that ends, or that was cut off after its last result.
async fn write(path: &Path, commits: u64, ends: bool) -> State {
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
    if ends {
        bodies.push(vec![EventBody::LeaseReleased]);
    }
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
    connection.pragma_update(None, "user_version", 4).unwrap();
    drop(connection);
    let before = std::fs::read(&place.path).unwrap();
    assert!(refused(&place.path).await.contains("format 4"));
    let store = SqliteStore::at(&place.path);
    let lease = store.lease().await;
    assert!(
        matches!(lease, Err(StoreError::NewerFormat { found: 4, .. })),
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
        noticed > 30 && unharmed > 30,
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
        ("DELETE FROM meta WHERE key = 'table'", "`table` in table meta"),
    ] {
        let place = place();
        fill(&place.path, 4).await;
        alter(&place.path, change);
        let text = refused(&place.path).await;
        assert!(text.contains(what), "{change}: {text}");
    }
}

fn alter(path: &Path, change: &str) {
    let connection = Connection::open(path).unwrap();
    assert!(connection.execute(change, []).unwrap() > 0, "{change}");
}

fn records(path: &Path) -> u64 {
    let connection = Connection::open(path).unwrap();
    let count = connection.query_row("SELECT count(*) FROM records", [], |row| row.get(0));
    count.unwrap()
}

#[tokio::test]
async fn what_a_run_that_was_cut_off_left_is_read_from_the_log() {
    let place = place();
    let state = write(&place.path, 4, false).await;
    assert_eq!((records(&place.path), state.len()), (0, 3));
    assert_eq!(SqliteStore::at(&place.path).load().await.unwrap().state, state);
    let store = SqliteStore::at(&place.path);
    assert_eq!(verify(&store).await.unwrap().damage, Vec::<String>::new());
    // Compacting needs the records, and the next run that ends brings them to the log's end.
    assert_eq!(store.compact(1, 6).await.unwrap(), 6);
    assert_eq!(records(&place.path), 3);
    assert_eq!(SqliteStore::at(&place.path).load().await.unwrap().state, state);
    let bodies = [create(50, 50, "r50"), succeeded(50, "id-50", 1)];
    for bodies in [bodies.to_vec(), vec![EventBody::LeaseReleased]] {
        let sequence = store.load().await.unwrap().state.serial;
        let request = AppendRequest {
            epoch: 1,
            expected_sequence: sequence,
            events: events(sequence + 1, 1, bodies),
        };
        store.append(request).await.unwrap();
    }
    assert_eq!(records(&place.path), 4);
    let after = SqliteStore::at(&place.path).load().await.unwrap().state;
    assert_eq!(after, store.load().await.unwrap().state);
    assert_eq!(verify(&store).await.unwrap().damage, Vec::<String>::new());
}

#[tokio::test]
async fn records_that_another_process_brought_further_are_not_written_over() {
    let place = place();
    write(&place.path, 4, false).await;
    let (store, other) = (SqliteStore::at(&place.path), SqliteStore::at(&place.path));
    let state = store.load().await.unwrap().state;
    other.compact(1, 3).await.unwrap();
    let request = AppendRequest {
        epoch: 1,
        expected_sequence: state.serial,
        events: events(
            state.serial + 1,
            1,
            [delete(98, 2, "r2"), deleted(98), EventBody::LeaseReleased],
        ),
    };
    store.append(request).await.unwrap();
    assert_eq!(records(&place.path), 2);
    let after = SqliteStore::at(&place.path).load().await.unwrap().state;
    assert_eq!(after, store.load().await.unwrap().state);
}

/// What a writer checked with its last commit is checked again when another connection committed something since.
#[tokio::test]
async fn a_writer_notices_what_another_process_did_between_two_commits() {
    let place = place();
    let store = SqliteStore::at(&place.path);
    store.create(creation()).await.unwrap();
    let lease = || LeaseRequest {
        holder: holder("ada"),
        length: std::time::Duration::from_secs(30),
        at: creation().at,
        replaces: None,
    };
    let epoch = store.take_lease(lease()).await.unwrap().epoch;
    let append = async |sequence: u64, body| {
        let request = AppendRequest {
            epoch,
            expected_sequence: sequence,
            events: events(sequence + 1, epoch, [body]),
        };
        store.append(request).await
    };
    append(1, lease_taken()).await.unwrap();
    append(2, create(1, 1, "a")).await.unwrap();

    let other = Connection::open(&place.path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    let newer = append(3, create(2, 2, "b")).await.unwrap_err();
    assert!(
        matches!(newer, StoreError::NewerFormat { found: 99, .. }),
        "{newer}"
    );
    other.pragma_update(None, "user_version", 3).unwrap();
    append(3, create(2, 2, "b")).await.unwrap();

    let another = SqliteStore::at(&place.path);
    let seen = another.lease().await.unwrap().unwrap().seen();
    let replacing = LeaseRequest {
        replaces: Some(seen),
        ..lease()
    };
    another.take_lease(replacing).await.unwrap();
    let lost = append(4, create(3, 3, "c")).await.unwrap_err();
    assert!(matches!(lost, StoreError::LostLease { .. }), "{lost}");
    assert_eq!(another.load().await.unwrap().head.sequence, 4);
}

#[tokio::test]
async fn a_long_run_brings_the_records_along() {
    let place = place();
    let state = write(&place.path, 1200, false).await;
    // Two events each, so at most some 2,000 are left to fold.
    assert!(records(&place.path) > 100 && state.len() == 1199);
    assert_eq!(SqliteStore::at(&place.path).load().await.unwrap().state, state);
}

#[tokio::test]
async fn altered_events_that_the_records_do_not_have_yet_are_noticed() {
    for (change, what) in [
        (
            "UPDATE events SET body = replace(body, 'id-2', 'id-9')",
            "was altered",
        ),
        ("DELETE FROM events WHERE sequence = 4", "event 4 is missing"),
        ("DELETE FROM events WHERE sequence > 5", "does not end with event"),
    ] {
        let place = place();
        write(&place.path, 3, false).await;
        alter(&place.path, change);
        let text = refused(&place.path).await;
        assert!(text.contains(what), "{change}: {text}");
    }
}

/// Turns a database of layout 3 into what layout 2 was: one row said where the log ends and how far the records go.
fn as_layout_2(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let row = |key: &str| -> serde_json::Value {
        let value: String = connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .unwrap();
        serde_json::from_str(&value).unwrap()
    };
    let mut head = row("head");
    for (name, value) in row("table").as_object().unwrap() {
        head[name] = value.clone();
    }
    let value = head.to_string();
    let digest = hex::encode(&Sha256::digest(format!("head\0{value}"))[..16]);
    connection
        .execute(
            "UPDATE meta SET value = ?1, digest = ?2 WHERE key = 'head'",
            [&value, &digest],
        )
        .unwrap();
    connection
        .execute("DELETE FROM meta WHERE key = 'table'", [])
        .unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
}

#[tokio::test]
async fn a_database_of_the_layout_before_is_read_and_brought_to_this_one() {
    let place = place();
    let state = fill(&place.path, 4).await;
    as_layout_2(&place.path);
    let store = SqliteStore::at(&place.path);
    assert_eq!(store.load().await.unwrap().state, state);
    let held = store.lease().await.unwrap().unwrap();
    let request = LeaseRequest {
        holder: holder("bob"),
        length: std::time::Duration::from_secs(30),
        at: creation().at,
        replaces: Some(held.seen()),
    };
    let epoch = store.take_lease(request).await.unwrap().epoch;
    let request = AppendRequest {
        epoch,
        expected_sequence: state.serial,
        events: events(state.serial + 1, epoch, [lease_taken(), create(50, 50, "r50")]),
    };
    store.append(request).await.unwrap();
    let after = SqliteStore::at(&place.path).load().await.unwrap().state;
    assert_eq!((after.serial, after.len()), (state.serial + 2, state.len() + 1));
    assert_eq!(verify(&store).await.unwrap().damage, Vec::<String>::new());
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
        alter(&place.path, change);
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
