//! States that released versions wrote are read, upgraded and written further; those of later versions are refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::CountedIds;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::event::EventBody;
use gabion_engine::state::history::runs;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::log_file;
use gabion_engine::state::process::Processes;
use gabion_engine::state::store::{AdoptRequest, AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{
    FORMAT_VERSION, Journal, JournalOptions, MemoryStore, SqliteStore, State, StateStore, StoreError,
};
use gabion_testing::store_events::{
    create, creation, events, holder, lease_taken, run, run_started, succeeded,
};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

/// The layout of the database that this version writes.
const LAYOUT: i64 = 3;

/// A copy of a state that a released version wrote.
struct Fixture {
    /// Its version and name, for failures.
    name: String,
    directory: tempfile::TempDir,
    /// What the version itself loaded.
    state: State,
    /// Its events.
    log: Vec<ChainedEvent>,
}

impl Fixture {
    fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::at(self.path())
    }

    fn layout(&self) -> i64 {
        let connection = Connection::open(self.path()).unwrap();
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state");
    let mut found = Vec::new();
    for version in std::fs::read_dir(root).unwrap() {
        let version = version.unwrap().path();
        if !version.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&version).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "db") {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            std::fs::copy(&file, directory.path().join("state.db")).unwrap();
            let log = std::fs::read_to_string(file.with_extension("log")).unwrap();
            let log = log.lines().map(|line| {
                let (hash, encoded) = line.split_once(' ').unwrap();
                ChainedEvent::read(encoded.as_bytes(), hash).unwrap()
            });
            found.push(Fixture {
                name: format!("{}", file.display()),
                directory,
                state: serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap(),
                log: log.collect(),
            });
        }
    }
    assert!(found.len() >= 2);
    found
}

fn fingerprint(path: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(path).unwrap()).to_vec()
}

/// Takes the lease from the run that was killed, and returns its epoch.
async fn take_over(store: &SqliteStore) -> u64 {
    let held = store.lease().await.unwrap().unwrap();
    let request = LeaseRequest {
        holder: holder("bob"),
        length: Duration::from_secs(30),
        at: creation().at,
        replaces: Some(held.seen()),
    };
    store.take_lease(request).await.unwrap().epoch
}

async fn append(store: &SqliteStore, epoch: u64, sequence: u64, number: u64) -> Result<(), StoreError> {
    let bodies = [lease_taken(), create(number, number, &format!("n{number}"))];
    let request = AppendRequest {
        epoch,
        expected_sequence: sequence,
        events: events(sequence + 1, epoch, bodies),
    };
    store.append(request).await.map(|_| ())
}

#[tokio::test]
async fn a_state_of_every_released_version_is_read_without_being_touched() {
    for fixture in fixtures() {
        let (before, layout) = (fingerprint(&fixture.path()), fixture.layout());
        let store = fixture.store();
        assert_eq!(
            store.load().await.unwrap().state,
            fixture.state,
            "{}",
            fixture.name
        );
        assert_eq!(
            store.events(0, 10_000).await.unwrap(),
            fixture.log,
            "{}",
            fixture.name
        );
        let found = verify(&store).await.unwrap();
        assert_eq!(found.damage, Vec::<String>::new(), "{}", fixture.name);
        assert!(store.lease().await.unwrap().is_some());
        drop(store);
        assert_eq!(fixture.layout(), layout);
        assert_eq!(fingerprint(&fixture.path()), before, "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_log_of_every_released_version_folds_to_the_same_state_in_any_store() {
    for fixture in fixtures() {
        let base = fixture.store().base().await.unwrap();
        let log = LogCopy::new(base, fixture.log.clone(), 0).unwrap();
        assert_eq!(*log.state(), fixture.state, "{}", fixture.name);
        let memory = MemoryStore::new();
        memory.adopt(AdoptRequest { log, over: None }).await.unwrap();
        assert_eq!(
            memory.load().await.unwrap().state,
            fixture.state,
            "{}",
            fixture.name
        );
    }
}

/// Returns a log as the version that wrote it exported it: no event had bytes beside it.
fn exported(fixture: &Fixture) -> serde_json::Value {
    let connection = Connection::open(fixture.path()).unwrap();
    let base: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'base'", [], |row| row.get(0))
        .ok();
    let events = fixture.log.iter().map(|event| {
        let said: serde_json::Value = serde_json::from_slice(&event.encoded).unwrap();
        serde_json::json!({"hash": &*event.hash, "event": said})
    });
    let mut exported = serde_json::json!({
        "format": "gabion-log",
        "format_version": 1,
        "lineage": fixture.state.lineage,
        "project": &*fixture.state.project,
        "serial": fixture.state.serial,
        "chain": &*fixture.state.chain,
        "epoch": fixture.state.epoch,
        "base": null,
        "events": events.collect::<Vec<_>>(),
    });
    if let Some(base) = base {
        exported["base_digest"] = hex::encode(Sha256::digest(&base)).into();
        exported["base"] = serde_json::from_str(&base).unwrap();
    }
    exported
}

#[tokio::test]
async fn what_a_released_version_exported_is_read() {
    for fixture in fixtures() {
        let mut exported = exported(&fixture);
        let log = log_file::read(exported.to_string().as_bytes());
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        assert_eq!(*log.state(), fixture.state, "{}", fixture.name);
        assert_eq!(log.events(), fixture.log, "{}", fixture.name);
        // What is written of it now is read the same.
        let again = log_file::read(&log_file::write(&log)).unwrap();
        assert_eq!(again.events(), fixture.log, "{}", fixture.name);
        exported["events"][3]["event"]["at"] = "2001-01-01T00:00:00Z".into();
        assert!(log_file::read(exported.to_string().as_bytes()).is_err());
    }
}

#[tokio::test]
async fn a_state_of_every_released_version_is_upgraded_by_the_first_write() {
    for fixture in fixtures() {
        let store = fixture.store();
        let layout = fixture.layout();
        // Who is refused the lease upgrades nothing.
        let request = LeaseRequest {
            holder: holder("bob"),
            length: Duration::from_secs(30),
            at: creation().at,
            replaces: None,
        };
        let refused = store.take_lease(request).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        assert_eq!(fixture.layout(), layout);
        let epoch = take_over(&store).await;
        assert_eq!(epoch, 3);
        assert_eq!(fixture.layout(), LAYOUT);
        assert_eq!(store.load().await.unwrap().state, fixture.state);

        append(&store, epoch, fixture.state.serial, 1000).await.unwrap();
        assert_eq!(fixture.layout(), LAYOUT);
        let state = store.load().await.unwrap().state;
        assert_eq!(
            (state.serial, state.len(), &state.project, &state.outputs),
            (
                fixture.state.serial + 2,
                fixture.state.len() + 1,
                &fixture.state.project,
                &fixture.state.outputs
            )
        );
        // Another process sees the same, and so does the one that is at work when it happens.
        assert_eq!(fixture.store().load().await.unwrap().state, state);
        let log = store.events(0, 10_000).await.unwrap();
        assert_eq!(log[..fixture.log.len()], fixture.log, "{}", fixture.name);
        let found = verify(&store).await.unwrap();
        assert_eq!(found.damage, Vec::<String>::new(), "{}", fixture.name);
        let request = AppendRequest {
            epoch,
            expected_sequence: state.serial,
            events: events(state.serial + 1, epoch, [succeeded(1000, "id", 1)]),
        };
        store.append(request).await.unwrap();
    }
}

/// What this version writes says of the writer what the event before does not, and a released version's state does not
/// say who wrote last.
#[tokio::test]
async fn a_run_goes_on_with_the_log_of_every_released_version() {
    for fixture in fixtures() {
        let name = &fixture.name;
        let store = Arc::new(fixture.store());
        let epoch = take_over(&store).await;
        store.release(epoch).await.unwrap();
        let options = JournalOptions {
            lineage: None,
            project: "tests".into(),
            holder: holder("ada"),
            run: run(9),
            lease_length: Duration::from_secs(30),
            lock_timeout: Duration::ZERO,
            heartbeat: HeartbeatMode::Thread,
            processes: Processes::default(),
            key: None,
            head_mark: None,
            clock: Arc::new(StoppedClock::default()),
            ids: Arc::new(CountedIds::default()),
        };
        let journal = Journal::open(store.clone(), options).await.unwrap();
        let from = fixture.state.serial;
        let mut draft = journal.draft();
        draft.push(run_started()).unwrap();
        draft.push(create(1000, 1000, "new")).unwrap();
        journal.commit_draft(draft).await.unwrap();
        let state = journal
            .commit(vec![succeeded(1000, "id", 1), create(1001, 1001, "newer")])
            .await
            .unwrap();
        // The records do not have it yet, and what is left of history begins in the middle of the run.
        assert_eq!(fixture.store().load().await.unwrap().state, *state, "{name}");
        store.compact(journal.epoch(), from + 2).await.unwrap();
        assert_eq!(fixture.store().load().await.unwrap().state, *state, "{name}");
        let finished = EventBody::RunFinished {
            summary: [("done".into(), 1)].into(),
        };
        journal
            .commit(vec![succeeded(1001, "id-2", 1), finished])
            .await
            .unwrap();
        journal.close().await.unwrap();

        let elsewhere = fixture.store();
        let found = verify(&elsewhere).await.unwrap();
        assert_eq!(found.damage, Vec::<String>::new(), "{name}");
        let log = elsewhere.events(0, 100).await.unwrap();
        assert_eq!(log[0].event.sequence, from + 3, "{name}");
        assert_eq!(log.len(), 4, "{name}");
        for event in &log {
            assert_eq!((event.event.run, event.event.epoch), (None, None), "{name}");
        }
        let [last] = &runs(&elsewhere).await.unwrap()[..] else {
            panic!("{name}: one run is kept");
        };
        assert_eq!((last.run, last.before, last.after), (run(9), from + 2, from + 6));
        let copy = LogCopy::read(&elsewhere, 0).await.unwrap();
        let again = log_file::read(&log_file::write(&copy)).unwrap();
        assert_eq!(
            (again.events(), again.state()),
            (copy.events(), copy.state()),
            "{name}"
        );
        assert_eq!(again.state().run.0, Some(run(9)), "{name}");
    }
}

#[tokio::test]
async fn whoever_has_an_earlier_layout_open_goes_on_in_the_new_one() {
    for fixture in fixtures() {
        let other = fixture.store();
        other.load().await.unwrap();
        let store = fixture.store();
        let epoch = take_over(&store).await;
        append(&store, epoch, fixture.state.serial, 1000).await.unwrap();
        assert_eq!(
            other.load().await.unwrap().state,
            store.load().await.unwrap().state,
            "{}",
            fixture.name
        );
        let sequence = fixture.state.serial + 2;
        let request = AppendRequest {
            epoch,
            expected_sequence: sequence,
            events: events(sequence + 1, epoch, [succeeded(1000, "id", 1)]),
        };
        other.append(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_state_of_every_released_version_can_be_encrypted() {
    for fixture in fixtures() {
        let envelope = Envelope::new(StoreKey::new([9; 32]), []);
        let store = SqliteStore::sealed_at(fixture.path(), envelope);
        assert_eq!(
            store.load().await.unwrap().state,
            fixture.state,
            "{}",
            fixture.name
        );
        let epoch = take_over(&store).await;
        assert!(store.reseal(epoch).await.unwrap() > 0);
        assert_eq!(
            store.load().await.unwrap().state,
            fixture.state,
            "{}",
            fixture.name
        );
        assert_eq!(
            store.events(0, 10_000).await.unwrap(),
            fixture.log,
            "{}",
            fixture.name
        );
        assert_eq!(verify(&store).await.unwrap().damage, Vec::<String>::new());
        let refused = fixture.store().load().await;
        assert!(
            matches!(refused, Err(StoreError::MissingKey { .. })),
            "{refused:?}"
        );
        let bytes = std::fs::read(fixture.path()).unwrap();
        assert!(!bytes.windows(11).any(|part| part == b"gabion_data"));
    }
}

/// Asserts that a state is refused as one of a later version by whatever would read or write it, and not touched.
async fn refused_as_newer(fixture: &Fixture, found: u32) {
    let before = fingerprint(&fixture.path());
    let store = fixture.store();
    let newer = |what: &str, error: Option<StoreError>| {
        assert!(
            matches!(error, Some(StoreError::NewerFormat { found: it, .. }) if it == found),
            "{what}: {error:?}"
        );
    };
    newer("load", store.load().await.err());
    newer("append", append(&store, 2, fixture.state.serial, 1).await.err());
    newer("compact", store.compact(2, 5).await.err());
    newer("reseal", store.reseal(2).await.err());
    let request = LeaseRequest {
        holder: holder("bob"),
        length: Duration::from_secs(30),
        at: creation().at,
        replaces: None,
    };
    newer("take_lease", store.take_lease(request).await.err());
    drop(store);
    assert_eq!(fingerprint(&fixture.path()), before);
}

#[tokio::test]
async fn a_later_layout_is_refused() {
    for fixture in fixtures() {
        let connection = Connection::open(fixture.path()).unwrap();
        connection
            .pragma_update(None, "user_version", LAYOUT + 1)
            .unwrap();
        drop(connection);
        refused_as_newer(&fixture, u32::try_from(LAYOUT + 1).unwrap()).await;
    }
}

#[tokio::test]
async fn a_later_log_format_is_refused() {
    for fixture in fixtures() {
        let connection = Connection::open(fixture.path()).unwrap();
        let head: String = connection
            .query_row("SELECT value FROM meta WHERE key = 'head'", [], |row| row.get(0))
            .unwrap();
        let mut head: serde_json::Value = serde_json::from_str(&head).unwrap();
        head["format"] = (FORMAT_VERSION + 1).into();
        let head = head.to_string();
        let digest = Sha256::digest(format!("head\0{head}"));
        connection
            .execute(
                "UPDATE meta SET value = ?1, digest = ?2 WHERE key = 'head'",
                [head, hex::encode(&digest[..16])],
            )
            .unwrap();
        drop(connection);
        refused_as_newer(&fixture, FORMAT_VERSION + 1).await;
    }
}
