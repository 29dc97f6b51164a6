//! Files that are gone, or are other files.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use gabion_engine::address::Lineage;
use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::head::{HeadError, HeadMark};
use gabion_engine::state::store::AppendRequest;
use gabion_engine::state::{OpenError, SqliteStore, StateStore, StoreError, load_for_reading};
use gabion_testing::store_events::creation;
use rusqlite::Connection;
use uuid::Uuid;

use crate::support::{Bench, Files, Writer, block_on};

async fn files() -> Files {
    let mut writer = Writer::new(Envelope::plain()).await;
    writer.work(1, 4).await;
    writer.checkpoint();
    writer.work(4, 5).await;
    writer.crash().await
}

/// Another project's state, with as many objects.
async fn others() -> Files {
    let mut creation = creation();
    creation.created.lineage = Lineage::from_uuid(Uuid::from_u64_pair(4, 2));
    let mut writer = Writer::of(Envelope::plain(), creation).await;
    writer.work(1, 4).await;
    writer.checkpoint();
    writer.work(4, 5).await;
    writer.crash().await
}

#[tokio::test]
async fn a_file_that_is_gone_is_missed() {
    let files = files().await;
    let bench = Bench::new(&files.known);
    bench.lay(None, None);
    assert_eq!(bench.look("neither file").await.refused, 1);
    bench.lay(None, Some(&files.log));
    assert_eq!(bench.look("no database").await.refused, 1);
    let error = SqliteStore::at(bench.path()).load().await.unwrap_err();
    assert!(error.to_string().contains("write-ahead log"), "{error}");
    bench.lay(Some(&files.database), None);
    assert_eq!(bench.look("no log").await.shorter, 1);
    bench.lay(Some(&files.database), Some(b""));
    assert_eq!(bench.look("an empty log").await.shorter, 1);
    bench.lay(
        Some(&files.database),
        Some(b"this is no log, whatever its name is"),
    );
    assert_eq!(bench.look("a foreign log").await.shorter, 1);
    bench.lay(Some(&files.database), Some(&files.log));
    assert_eq!(bench.look("both").await.whole, 1);
}

#[tokio::test]
async fn a_file_that_is_another_one_is_no_state() {
    let files = files().await;
    let bench = Bench::new(&files.known);
    let path = bench.path();
    for log in [None, Some(&files.log[..])] {
        for content in [
            &b""[..],
            b"\n",
            b"hello, this is not a database",
            b"SQLite format 3\0",
            &[0; 4096],
        ] {
            bench.lay(Some(content), log);
            assert_eq!(
                bench.look(&format!("{content:?}")).await.refused,
                1,
                "{content:?}"
            );
            // Nor is it taken for the place of a new one.
            let created = SqliteStore::at(&path).create(creation()).await;
            assert!(created.is_err(), "{created:?}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }

        bench.lay(None, log);
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA page_size = 512; CREATE TABLE bookmarks (url TEXT)")
            .unwrap();
        drop(connection);
        if let Some(log) = log {
            let database = std::fs::read(&path).unwrap();
            bench.lay(Some(&database), Some(log));
        }
        let seen = bench.look("another program's database").await;
        // The log may hold every page, and then the file's own content does not matter.
        assert!(seen.refused == 1 || log.is_some(), "{seen:?}");

        bench.lay(None, log);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(bench.look("a directory").await.refused, 1);
        std::fs::remove_dir(&path).unwrap();

        symlink("nowhere", &path).unwrap();
        assert_eq!(bench.look("a dangling link").await.refused, 1);
        let error = SqliteStore::at(&path).load().await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn another_projects_state_is_told_by_the_mark() {
    let (files, others) = (files().await, others().await);
    let bench = Bench::new(&files.known);
    let mark = HeadMark::new(&bench.path().with_file_name("marks"), &bench.path(), "");
    let store = || SqliteStore::at(bench.path());
    bench.lay(Some(&others.database), Some(&others.log));
    let state = store().load().await.unwrap().state;
    assert_eq!(state, *others.known.last());
    let told = mark.check(Some(files.known.mark()), &store(), Some(&state)).await;
    assert!(matches!(told, Err(HeadError::OtherLineage { .. })), "{told:?}");

    // Files of both: what is read is one of them, or nothing.
    for (database, log) in [(&files.database, &others.log), (&others.database, &files.log)] {
        bench.lay(Some(database), Some(log));
        match store().load().await {
            Ok(loaded) => {
                let serial = loaded.state.serial;
                let expected = [files.known.states.get(&serial), others.known.states.get(&serial)];
                assert!(expected.contains(&Some(&loaded.state)), "{:?}", loaded.state);
            }
            Err(error) => bench.names_the_file(&error, "files of two states"),
        }
    }
}

#[tokio::test]
async fn an_older_copy_is_told_by_the_mark() {
    let mut writer = Writer::new(Envelope::plain()).await;
    writer.work(1, 3).await;
    writer.checkpoint();
    let old = writer.crash().await;
    writer.work(3, 6).await;
    writer.checkpoint();
    writer.work(6, 7).await;
    let new = writer.crash().await;
    let bench = Bench::new(&new.known);
    bench.lay(Some(&old.database), None);
    assert_eq!(bench.look("an older database").await.shorter, 1);
    bench.lay(Some(&old.database), Some(&old.log));
    assert_eq!(bench.look("an older pair").await.shorter, 1);
    bench.lay(Some(&new.database), Some(&old.log));
    let seen = bench.look("an older log").await;
    assert_eq!(seen.whole, 0);
    bench.lay(Some(&old.database), Some(&new.log));
    bench.look("an older database with the newer log").await;
}

/// What commands that only read say; none of them then plans anything.
#[tokio::test]
async fn who_only_reads_is_told_what_is_missing_and_what_to_do() {
    let files = files().await;
    let bench = Bench::new(&files.known);
    let mark = HeadMark::new(&bench.path().with_file_name("marks"), &bench.path(), "");
    mark.write(&files.known.mark()).unwrap();
    let store = SqliteStore::at(bench.path());

    bench.lay(Some(&files.database), None);
    let error = load_for_reading(&store, Some(&mark)).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Head(HeadError::Behind { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("events"), "{error}");
    assert!(error.hint().unwrap().contains("gabion state rebuild"), "{error}");
    drop(store);

    bench.lay(None, None);
    let store = SqliteStore::at(bench.path());
    let error = load_for_reading(&store, Some(&mark)).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Head(HeadError::Missing { .. })),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("gabion state rebuild"), "{error}");

    bench.lay(Some(b"nonsense"), None);
    let error = load_for_reading(&store, Some(&mark)).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Store(StoreError::Unreadable { .. })),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("gabion state rebuild"), "{error}");
}

const STORE: &str = "GABION_TEST_READ_ONLY_STORE";

/// What another user's process does with a state that it may not write: it says what it can read and write.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other process gets its orders from its parent test"
)]
fn other_users_process() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    block_on(async {
        let store = SqliteStore::at(&path);
        match store.load().await {
            Ok(loaded) => println!("\nloaded {}", loaded.state.serial),
            Err(error) => println!("\nerror {error}"),
        }
        let request = AppendRequest {
            epoch: 1,
            expected_sequence: 1,
            events: Vec::new(),
        };
        println!("\nappend {}", store.append(request).await.unwrap_err());
        println!(
            "\nrelease {:?}",
            store.release(1).await.map_err(|error| error.to_string())
        );
    });
}

#[tokio::test]
async fn a_state_that_may_not_be_written_is_read_or_refused_and_left_as_it_is() {
    let files = files().await;
    let bench = Bench::new(&files.known);
    // Both files are there, the log alone is not empty, or a reader could not tell that nothing is missing.
    for (log, directory_mode) in [
        (None, 0o555),
        (Some(&files.log[..]), 0o555),
        (Some(&files.log[..]), 0o777),
    ] {
        bench.lay(Some(&files.database), log);
        let path = bench.path();
        let directory = path.parent().unwrap();
        let set = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&path, 0o444);
        if log.is_some() {
            set(&path.with_file_name("state.db-wal"), 0o444);
        }
        set(directory, directory_mode);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "files::other_users_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .current_dir("/")
            .env(STORE, &path);
        if nix::unistd::geteuid().is_root() {
            // Nothing is closed to this user; `nobody` is another one.
            command.uid(65534);
        }
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("skipped 1: another user cannot run this test's program: {error}");
                set(directory, 0o755);
                return;
            }
        };
        set(directory, 0o755);
        let text = String::from_utf8(output.stdout).unwrap();
        let said = |word: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(word).map(str::to_owned))
        };
        println!("{directory_mode:o} {text}");
        match said("loaded ") {
            Some(serial) => assert!(
                files.known.states.contains_key(&serial.parse().unwrap()),
                "{text}"
            ),
            None => {
                let error = said("error ").unwrap();
                assert!(error.contains(&path.display().to_string()), "{text}");
            }
        }
        assert!(said("append ").is_some(), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), files.database, "{text}");
    }
}
