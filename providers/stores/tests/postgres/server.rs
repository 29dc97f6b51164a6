//! A server that is killed, and one that says no.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, StateStore, StoreError};
use gabion_stores::postgres::{OpenOptions, PostgresStore};
use gabion_testing::store_events::{create, creation, lease_taken};

use crate::damage::{append, take};
use crate::place::{Place, own_server, settings};

fn open(url: &str, schema: &str, environment: &dyn Fn(&str) -> Option<String>) -> PostgresStore {
    let options = OpenOptions {
        environment,
        directory: std::path::Path::new("/"),
        project: "tests",
        stack: "blue",
        envelope: Envelope::plain(),
    };
    PostgresStore::open(&settings(url, schema), options).expect("the URL names a user")
}

/// What the server acknowledged survives its being killed, though it is told not to wait for its disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_killed_server() {
    let mut server = own_server(&[("synchronous_commit", "off"), ("wal_writer_delay", "10s")]);
    let place = Place::at(server.url("postgres"));
    let store = Arc::new(place.store());
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&*store).await;
    append(&*store, epoch, 1, [lease_taken()]).await.expect("it fits");
    for round in 0..6 {
        let acknowledged = Arc::new(AtomicU64::new(
            store.load().await.expect("it is there").head.sequence,
        ));
        let first = acknowledged.load(Ordering::SeqCst);
        let (writer, seen) = (store.clone(), acknowledged.clone());
        let writing = tokio::spawn(async move {
            let mut serial = first;
            loop {
                let number = serial + 1;
                let body = create(number, number, &format!("r{number}"));
                match append(&*writer, epoch, serial, [body]).await {
                    Ok(head) => serial = head.sequence,
                    Err(error) => return error,
                }
                seen.store(serial, Ordering::SeqCst);
                if serial > first + 400 {
                    return StoreError::Moved {
                        expected: 0,
                        found: 0,
                    };
                }
            }
        });
        let target = first + 10 + round * 7;
        while acknowledged.load(Ordering::SeqCst) < target {
            assert!(!writing.is_finished(), "{:?}", writing.await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart().expect("it recovers");
            server
        })
        .await
        .expect("no panic");
        // The writer goes on by itself, and knows of each append whether it was done.
        let target = acknowledged.load(Ordering::SeqCst) + 3;
        while acknowledged.load(Ordering::SeqCst) < target {
            assert!(!writing.is_finished(), "{:?}", writing.await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        writing.abort();
        let now = place.store().load().await.expect("it is there").head.sequence;
        assert!(now >= acknowledged.load(Ordering::SeqCst), "round {round}");
        let found = verify(&*store).await.expect("it can be read");
        assert_eq!(found.damage, Vec::<String>::new(), "round {round}");
    }
}

#[tokio::test]
async fn commits_wait_for_the_disk_whatever_the_default_is() {
    let server = own_server(&[("synchronous_commit", "off")]);
    let place = Place::at(server.url("postgres"));
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    place
        .execute(
            "CREATE TABLE {s}.seen (setting text);
             CREATE FUNCTION {s}.see() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO {s}.seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
             CREATE TRIGGER see AFTER INSERT ON {s}.events EXECUTE FUNCTION {s}.see();
             CREATE TRIGGER see AFTER UPDATE ON {s}.leases EXECUTE FUNCTION {s}.see()",
        )
        .await;
    let epoch = take(&store).await;
    append(&store, epoch, 1, [lease_taken()]).await.expect("it fits");
    let at = StoppedClock::default().now();
    store
        .renew(epoch, Duration::from_secs(1), at)
        .await
        .expect("it holds the lease");
    store.release(epoch).await.expect("it holds the lease");
    place
        .execute(
            "DO 'BEGIN
                 ASSERT (SELECT count(*) FROM {s}.seen) = 4;
                 ASSERT NOT EXISTS (SELECT 1 FROM {s}.seen WHERE setting <> ''on'');
             END'",
        )
        .await;
}

#[tokio::test]
async fn what_the_server_refuses_is_said_with_what_to_do() {
    let mut server = own_server(&[("password_encryption", "scram-sha-256")]);
    let place = Place::at(server.url("postgres"));
    place
        .execute(
            "CREATE ROLE ada LOGIN PASSWORD 'hunter2';
             CREATE ROLE eve LOGIN PASSWORD 'hunter2';
             ALTER ROLE eve SET default_transaction_read_only = on",
        )
        .await;
    place.execute("CREATE DATABASE infra").await;
    server
        .set_rules("host all ada 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        .expect("it can be written");
    server = tokio::task::spawn_blocking(move || {
        server.stop();
        server.restart().expect("it starts");
        server
    })
    .await
    .expect("no panic");
    let port = server.port();
    let url = |user: &str, database: &str| format!("postgres://{user}@127.0.0.1:{port}/{database}");
    let password = |given: &'static str| move |name: &str| (name == "PGPASSWORD").then(|| given.to_owned());
    let none = |_: &str| None;
    let said = |error: StoreError, words: &[&str]| {
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter") && !text.contains("secret"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    };
    let load = async |store: PostgresStore| store.load().await.expect_err("it is refused");
    let create = async |store: PostgresStore| store.create(creation()).await.expect_err("it is refused");

    let error = load(open(&url("ada", "infra"), "gabion", &none)).await;
    said(error, &["asks for a password", "ada", "PGPASSWORD"]);
    let error = load(open(&url("ada", "infra"), "gabion", &password("secret"))).await;
    said(error, &["28P01", "does not let the user ada in", "pg_hba.conf"]);
    let error = load(open(&url("ada", "other"), "gabion", &password("hunter2"))).await;
    said(error, &["3D000", "CREATE DATABASE \"other\"", &port.to_string()]);
    let refused = free_port();
    let error = load(open(
        &format!("postgres://ada@127.0.0.1:{refused}/infra"),
        "gabion",
        &none,
    ))
    .await;
    said(error, &["nothing listens at 127.0.0.1", &refused.to_string()]);
    let error = load(open("postgres://ada@/infra?host=/nowhere", "gabion", &none)).await;
    said(error, &["/nowhere/.s.PGSQL.5432", "is it running"]);
    let error = load(open("postgres://ada@no-such-host.invalid/infra", "gabion", &none)).await;
    said(error, &["no-such-host.invalid:5432"]);
    // The tables are made by whoever may, and used by whoever was let.
    let error = create(open(&url("ada", "infra"), "gabion", &password("hunter2"))).await;
    said(
        error,
        &["42501", "CREATE SCHEMA IF NOT EXISTS gabion", "TO \"ada\""],
    );
    let as_admin = Place::at(url("postgres", "infra"));
    as_admin
        .execute("CREATE SCHEMA gabion; GRANT USAGE, CREATE ON SCHEMA gabion TO ada")
        .await;
    let store = open(&url("ada", "infra"), "gabion", &password("hunter2"));
    store.create(creation()).await.expect("it may by now");
    let error = load(open(&url("eve", "infra"), "gabion", &none)).await;
    said(
        error,
        &[
            "42501",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gabion TO \"eve\"",
        ],
    );
    as_admin
        .execute("GRANT USAGE ON SCHEMA gabion TO eve; GRANT SELECT ON ALL TABLES IN SCHEMA gabion TO eve")
        .await;
    let reader = open(&url("eve", "infra"), "gabion", &none);
    reader.load().await.expect("reading takes no more");
    assert_eq!(reader.lease().await.expect("reading takes no more"), None);
    let error = append(&reader, 1, 1, [lease_taken()])
        .await
        .expect_err("it may not write");
    said(error, &["42501", "GRANT"]);
    assert_eq!(
        store.location(),
        format!("postgres://ada@127.0.0.1:{port}/infra, schema gabion, project tests, stack blue")
    );
    let socket = format!(
        "postgres://postgres@/infra?host={}&port={port}",
        server.directory().display()
    );
    server
        .set_rules("local all all trust\n")
        .expect("it can be written");
    server = tokio::task::spawn_blocking(move || {
        server.stop();
        server.restart().expect("it starts");
        server
    })
    .await
    .expect("no panic");
    let store = open(&socket, "gabion", &none);
    store.load().await.expect("sockets lead there too");
    assert!(
        store.location().contains("%2Fgabion-postgres-"),
        "{}",
        store.location()
    );
    drop(server);
}

#[tokio::test]
async fn a_login_needs_a_user() {
    let settings = settings("postgres://127.0.0.1/infra", "gabion");
    let options = |environment| OpenOptions {
        environment,
        directory: std::path::Path::new("/"),
        project: "tests",
        stack: "",
        envelope: Envelope::plain(),
    };
    let error = PostgresStore::open(&settings, options(&|_: &str| None)).err();
    assert!(error.is_some_and(|error| error.to_string().contains("PGUSER")));
    let user = |name: &str| (name == "PGUSER").then(|| "ada".to_owned());
    let store = PostgresStore::open(&settings, options(&user)).expect("it names one");
    assert!(store.location().starts_with("postgres://ada@127.0.0.1:5432/"));
}

/// A transaction that somebody else does not end keeps nobody waiting for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_somebody_keeps_to_himself_is_busy() {
    let place = Place::new();
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    let (client, connection) = tokio_postgres::connect(&place.url, tokio_postgres::NoTls)
        .await
        .expect("the server runs");
    let driver = tokio::spawn(connection);
    let lock = format!(
        "BEGIN; SELECT * FROM {}.logs, {0}.leases FOR UPDATE",
        place.schema
    );
    client.batch_execute(&lock).await.expect("nobody else has it");
    let (appended, taken) = tokio::join!(
        append(&store, epoch, 1, [EventBody::LeaseReleased]),
        store.take_lease(gabion_engine::state::store::LeaseRequest {
            holder: gabion_testing::store_events::holder("bob"),
            length: Duration::from_secs(30),
            at: StoppedClock::default().now(),
            replaces: None,
        }),
    );
    assert!(matches!(appended, Err(StoreError::Busy { .. })), "{appended:?}");
    // Whoever holds the lease is the one to name.
    match taken {
        Err(StoreError::Locked(view)) => assert_eq!(view.epoch, epoch),
        other => panic!("{other:?}"),
    }
    // Readers are not held up.
    assert_eq!(store.load().await.expect("it is there").head.sequence, 1);
    drop(client);
    driver.await.expect("no panic").expect("no error");
    append(&store, epoch, 1, [lease_taken()])
        .await
        .expect("it is free");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
