//! TLS: what each mode accepts, on a server with a certificate of an authority made here.

use std::path::Path;
use std::process::Command;

use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::{StateStore, StoreError};
use gabion_stores::postgres::{OpenOptions, PostgresStore};
use gabion_testing::postgres::Server;

use crate::place::{own_server, settings};

/// Runs `openssl`, which every system has that has certificates to make.
fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .expect("the tests of TLS need the program `openssl`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {said}");
}

/// Makes an authority `NAME.pem`.
fn authority(directory: &Path, name: &str) {
    openssl(
        directory,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
             -addext basicConstraints=critical,CA:TRUE -keyout {name}.key -out {name}.pem"
        ),
    );
}

/// Makes a certificate for a host, signed by an authority, valid for some days.
fn certificate(directory: &Path, name: &str, host: &str, by: &str, days: i32) {
    std::fs::write(
        directory.join("names"),
        format!("subjectAltName={host}\nbasicConstraints=CA:FALSE\n"),
    )
    .expect("it can be written");
    openssl(
        directory,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key \
             -out {name}.csr"
        ),
    );
    openssl(
        directory,
        &format!(
            "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -set_serial 7 -days {days} -extfile names \
             -out {name}.pem"
        ),
    );
}

/// Starts a server with a certificate, which tells logins with TLS from those without.
fn start(directory: &Path, name: &str) -> Server {
    let mut server = own_server(&[]);
    for kind in ["pem", "key"] {
        let content = std::fs::read(directory.join(format!("{name}.{kind}"))).expect("it was made");
        server
            .put_file(&format!("server.{kind}"), &content)
            .expect("it can be written");
    }
    server.set("ssl", "on");
    server.set("ssl_cert_file", "../server.pem");
    server.set("ssl_key_file", "../server.key");
    server.set("password_encryption", "scram-sha-256");
    server
        .set_rules("hostssl all all 127.0.0.1/32 scram-sha-256\nhost all plain 127.0.0.1/32 trust\nlocal all all trust\n")
        .expect("it can be written");
    server.restart().unwrap_or_else(|error| panic!("{error}"));
    server
}

async fn tries(server: &Server, directory: &Path, host: &str, query: &str) -> Result<(), StoreError> {
    let url = format!("postgres://postgres@{host}:{}/postgres{query}", server.port());
    let options = OpenOptions {
        environment: &|name| (name == "PGPASSWORD").then(|| "hunter2".to_owned()),
        directory,
        project: "tests",
        stack: "",
        envelope: Envelope::plain(),
    };
    let store = PostgresStore::open(&settings(&url, "gabion"), options)?;
    match store.load().await {
        // It was let in, and looked.
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("nothing was created"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_verifies_what_it_says() {
    let made = tempfile::tempdir().expect("there is room");
    let directory = made.path();
    authority(directory, "ours");
    authority(directory, "theirs");
    certificate(directory, "good", "DNS:localhost", "ours", 2);
    let server = tokio::task::block_in_place(|| start(directory, "good"));
    let socket = format!(
        "postgres://postgres@/postgres?host={}&port={}",
        server.directory().display(),
        server.port()
    );
    let config: tokio_postgres::Config = socket.parse().expect("it is a URL");
    let (client, connection) = config
        .connect(tokio_postgres::NoTls)
        .await
        .expect("the server runs");
    let driver = tokio::spawn(connection);
    client
        .batch_execute("ALTER ROLE postgres PASSWORD 'hunter2'")
        .await
        .expect("it is the owner");

    for query in [
        "?sslmode=verify-full&sslrootcert=ours.pem",
        // Relative to the project, absolute, and without a mode: named certificates are for verifying.
        "?sslrootcert=ours.pem",
        "?sslmode=verify-ca&sslrootcert=ours.pem",
        "?sslmode=require&sslrootcert=ours.pem",
        "?sslmode=require",
        "?sslmode=prefer",
        "",
        "?sslmode=verify-full&sslrootcert=ours.pem&channel_binding=require",
    ] {
        tries(&server, directory, "localhost", query)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    tries(
        &server,
        directory,
        "127.0.0.1",
        "?sslmode=verify-ca&sslrootcert=ours.pem",
    )
    .await
    .expect("the host is not looked at");
    for (host, query, words) in [
        (
            "localhost",
            "?sslmode=verify-full&sslrootcert=theirs.pem",
            "no trusted authority signed",
        ),
        (
            "localhost",
            "?sslmode=verify-ca&sslrootcert=theirs.pem",
            "no trusted authority signed",
        ),
        (
            "localhost",
            "?sslmode=require&sslrootcert=theirs.pem",
            "no trusted authority signed",
        ),
        ("localhost", "?sslmode=verify-full", "no trusted"),
        (
            "127.0.0.1",
            "?sslmode=verify-full&sslrootcert=ours.pem",
            "is for another host",
        ),
        (
            "localhost",
            "?sslmode=verify-full&sslrootcert=missing.pem",
            "missing.pem",
        ),
        (
            "localhost",
            "?sslmode=verify-full&sslrootcert=good.key",
            "no certificate in",
        ),
        // The server asks for TLS.
        ("localhost", "?sslmode=disable", "pg_hba.conf"),
    ] {
        match tries(&server, directory, host, query).await {
            Err(error @ StoreError::Io { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains(words) && !text.contains("hunter2"),
                    "{query}: {text}"
                );
            }
            other => panic!("{query}: {other:?}"),
        }
    }

    certificate(directory, "expired", "DNS:localhost", "ours", -1);
    openssl(
        directory,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -keyout own.key -out own.pem",
    );
    for (name, root, words) in [
        ("expired", "ours", "has expired"),
        ("own", "own", "its own authority"),
    ] {
        let server = tokio::task::block_in_place(|| start(directory, name));
        let query = format!("?sslmode=verify-full&sslrootcert={root}.pem");
        match tries(&server, directory, "localhost", &query).await {
            Err(error) => assert!(error.to_string().contains(words), "{name}: {error}"),
            Ok(()) => panic!("{name} was accepted"),
        }
    }
    drop(client);
    driver.await.expect("no panic").expect("no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let server = tokio::task::block_in_place(|| own_server(&[]));
    let directory = Path::new("/");
    for query in ["", "?sslmode=prefer", "?sslmode=disable"] {
        tries(&server, directory, "127.0.0.1", query)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for query in ["?sslmode=require", "?sslmode=verify-full", "?sslmode=verify-ca"] {
        match tries(&server, directory, "127.0.0.1", query).await {
            Err(error) => assert!(error.to_string().contains("has no TLS"), "{query}: {error}"),
            Ok(()) => panic!("{query} was accepted"),
        }
    }
}
