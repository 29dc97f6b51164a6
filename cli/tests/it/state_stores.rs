//! Where the state is: settings, keys, `init --store` and moving between stores. Against real servers when the test
//! command has started some.

use crate::harness::{Project, THREE_LEVELS};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns a store's URL that nobody used before, with the variables that reach it.
pub(crate) fn s3() -> Option<(String, Vec<(&'static str, String)>)> {
    let endpoint = variable("GABION_TEST_S3")?;
    let bucket = format!("cli-{}", uuid::Uuid::now_v7().simple());
    let variables = vec![
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    make_bucket(&endpoint, &bucket);
    Some((format!("s3://{bucket}/team?endpoint={endpoint}"), variables))
}

/// The server checks no signatures, so a bare request makes a bucket.
fn make_bucket(endpoint: &str, bucket: &str) {
    use std::io::{Read, Write};
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /{bucket} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

pub(crate) fn postgres() -> Option<(String, Vec<(&'static str, String)>)> {
    let url = variable("GABION_TEST_POSTGRES")?;
    let schema = format!("cli_{}", uuid::Uuid::now_v7().simple());
    // The password, if there is one, is not part of a store's URL.
    let (scheme, rest) = url.split_once("://").unwrap();
    let mut variables = Vec::new();
    let rest = match rest.split_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, password)) => {
                variables.push(("PGPASSWORD", password.to_owned()));
                format!("{user}@{host}")
            }
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let joint = if rest.contains('?') { '&' } else { '?' };
    Some((format!("{scheme}://{rest}{joint}schema={schema}"), variables))
}

fn with(variables: &[(&str, String)]) -> Project {
    variables
        .iter()
        .fold(Project::with(THREE_LEVELS), |project, (name, value)| {
            project.set(name, value)
        })
}

fn settings(project: &Project) -> String {
    std::fs::read_to_string(project.directory().join("gabion.yml")).unwrap()
}

#[test]
fn init_makes_the_state_and_pins_it() {
    let project = Project::with(THREE_LEVELS);
    project.write("gabion.yml", "# ours\nproject: demo # named so\n");
    let said = project.exits(0, &["init", "--store", "sqlite"]);
    assert!(said.err.contains("Made the state at"), "{}", said.all());
    let text = settings(&project);
    assert!(
        text.starts_with("# ours\nproject: demo # named so\nstate:\n  type: sqlite\nlineage: "),
        "{text}"
    );
    let again = project.exits(0, &["init"]);
    assert!(again.err.contains("there already"), "{}", again.all());
    assert_eq!(settings(&project), text);
    project.exits(0, &["init", "--store", "sqlite", "--stack", "staging"]);
    assert!(settings(&project).contains("stacks:\n  staging:\n    lineage: "));
    project.apply();
    // Another store would forget what is recorded.
    let said = project.exits(1, &["init", "--store", "s3://bucket-of-ours/x"]);
    assert!(said.err.contains("gabion state migrate --to"), "{}", said.all());
    let said = project.exits(1, &["init", "--store", "sq-lite"]);
    assert!(said.err.contains("s3://BUCKET"), "{}", said.all());
}

#[test]
fn a_new_project_may_begin_in_a_store() {
    let project = Project::new();
    project.exits(0, &["init", "--store", "sqlite"]);
    let text = settings(&project);
    assert!(
        text.contains("state:\n  type: sqlite\n") && text.contains("lineage: "),
        "{text}"
    );
    project.exits(0, &["validate"]);
}

#[test]
fn a_pinned_state_that_is_missing_is_never_a_new_project() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["init", "--store", "sqlite"]);
    std::fs::remove_dir_all(project.directory().join(".gabion")).unwrap();
    for arguments in [
        &["plan"][..],
        &["apply", "-y"],
        &["destroy", "-y"],
        &["drift"],
        &["init"],
    ] {
        let said = project.exits(1, arguments);
        assert!(said.err.contains("the state is missing"), "{}", said.all());
        assert!(said.err.contains("gabion.yml:3:10"), "{}", said.all());
    }
    assert_eq!(project.entries(), ["gabion.yml", "main.gabion.yml"]);
}

#[test]
fn store_settings_are_checked_where_they_are_written() {
    let project = Project::with(THREE_LEVELS);
    for (state, said) in [
        ("sqlit", "did you mean `sqlite`?"),
        ("{type: sqlite, path: x.db}", "always `.gabion/state.db`"),
        ("{type: sqlite, encrypton: {}}", "did you mean `encryption`?"),
        ("{type: s3}", "`bucket`"),
        (
            "{type: postgres, url: 'postgres://ada:hunter2@db/x'}",
            "gabion.yml:1:",
        ),
        (
            "{type: sqlite, encryption: {key: {env: A, file: b}}}",
            "cannot both be set",
        ),
        (
            "{type: sqlite, encryption: {key: hunter2hunter2}}",
            "must not be written here",
        ),
        ("{type: sqlite, encryption: {key: {env: UNSET}}}", ""),
    ] {
        project.write("gabion.yml", format!("state: {state}\n"));
        let found = project.run(&["validate"]);
        assert_eq!(found.code, i32::from(!said.is_empty()), "{}", found.all());
        assert!(found.err.contains(said), "{}", found.all());
        assert!(!found.all().contains("hunter2"), "{}", found.all());
    }
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("UNSET is not set"), "{}", said.all());
}

#[test]
fn content_is_encrypted_and_keys_are_changed() {
    let project = Project::with(THREE_LEVELS)
        .set("STATE_KEY", KEY)
        .set("OTHER_KEY", OTHER_KEY);
    let plain = "state: {type: sqlite}\n";
    let first = "state: {type: sqlite, encryption: {key: {env: STATE_KEY}}}\n";
    let second =
        "state: {type: sqlite, encryption: {key: {file: keys/state}, previous: [{env: STATE_KEY}]}}\n";
    let third = "state: {type: sqlite, encryption: {key: {command: [cat, keys/state]}}}\n";
    let readable = |word: &str| {
        ["state.db", "state.db-wal"].iter().any(|name| {
            let path = project.directory().join(".gabion").join(name);
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(word.len()).any(|window| window == word.as_bytes())
        })
    };
    project.write("gabion.yml", plain);
    project.apply();
    assert!(readable("example.org"));
    // Switched on for a state that there is already.
    project.write("gabion.yml", first);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let said = project.exits(0, &["state", "rekey"]);
    assert!(said.err.contains("Encrypted"), "{}", said.all());
    assert!(!readable("example.org"));
    assert!(project.exits(0, &["state", "rekey"]).err.contains("present key"));
    project.exits(0, &["state", "verify"]);
    // Without the key it is an error, and never an empty project.
    project.write("gabion.yml", plain);
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("the state is encrypted"), "{}", said.all());
    // Another key, from a file that is nobody else's.
    let keys = project.directory().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("state"), format!("{OTHER_KEY}\n")).unwrap();
    project.write("gabion.yml", second);
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(keys.join("state"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o640);
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("chmod 600"), "{}", said.all());
    mode(0o600);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["state", "reseal"]);
    project.write("gabion.yml", third);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["state", "history"]);
    let failing =
        "state: {type: sqlite, encryption: {key: {command: [sh, -c, 'echo no vault >&2; exit 4']}}}\n";
    project.write("gabion.yml", failing);
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("no vault"), "{}", said.all());
    project.write("gabion.yml", third);
}

#[test]
fn a_state_moves_to_s3_and_back() {
    let Some((url, variables)) = s3() else {
        return without("GABION_TEST_S3");
    };
    moves(&url, &with(&variables));
}

#[test]
fn a_state_moves_to_postgres_and_back() {
    let Some((url, variables)) = postgres() else {
        return without("GABION_TEST_POSTGRES");
    };
    moves(&url, &with(&variables));
}

#[test]
fn a_project_lives_in_s3() {
    let Some((url, variables)) = s3() else {
        return without("GABION_TEST_S3");
    };
    lives(&url, &with(&variables));
}

#[test]
fn a_project_lives_in_postgres() {
    let Some((url, variables)) = postgres() else {
        return without("GABION_TEST_POSTGRES");
    };
    lives(&url, &with(&variables));
}

/// The test command starts the servers; a test that cannot run without one says so, and does not pass silently.
#[track_caller]
fn without(variable: &str) {
    panic!("{variable} is not set; run the tests with: cargo xtask test -p gabion");
}

/// Moves a project's states, two stacks, to a store and back.
fn moves(url: &str, project: &Project) {
    project.apply();
    project.exits(0, &["apply", "-y", "--stack", "staging"]);
    let before = project.exits(0, &["state", "list", "--format", "json"]).json();
    let said = project.exits(1, &["state", "migrate", "--to", url, "--stack", "staging"]);
    assert!(said.err.contains("cannot move alone"), "{}", said.all());
    let said = project.exits(0, &["state", "migrate", "--to", url]);
    assert!(said.err.contains("of stack staging"), "{}", said.all());
    let moved = settings(project);
    assert!(
        moved.contains("lineage: ") && moved.contains("stacks:\n  staging:"),
        "{moved}"
    );
    for stack in [&[][..], &["--stack", "staging"]] {
        let with = |arguments: &[&'static str]| [arguments, stack].concat();
        project.exits(0, &with(&["plan", "--detailed-exitcode"]));
        project.exits(0, &with(&["state", "verify"]));
    }
    let after = project.exits(0, &["state", "list", "--format", "json"]).json();
    assert_eq!(before["lineage"], after["lineage"]);
    assert_eq!(before["records"], after["records"]);
    assert!(
        project
            .exits(0, &["state", "history"])
            .out
            .contains("state created"),
        "the history comes along"
    );
    // An old checkout does not go on writing to the old place.
    std::fs::remove_file(project.directory().join("gabion.yml")).unwrap();
    for arguments in [
        &["plan"][..],
        &["apply", "-y"],
        &["state", "taint", "gabion_data.top"],
    ] {
        let said = project.exits(1, arguments);
        assert!(said.err.contains("the state was moved"), "{}", said.all());
    }
    // What was begun is finished by doing it again.
    project.exits(0, &["state", "migrate", "--to", url]);
    assert!(settings(project).contains("stacks:"));
    project.exits(0, &["state", "taint", "gabion_data.top"]);
    project.exits(0, &["state", "migrate", "--to", "sqlite"]);
    assert!(settings(project).contains("type: sqlite"));
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("it was marked for replacement"), "{}", plan.out);
    project.apply();
    project.exits(0, &["destroy", "-y", "--stack", "staging"]);
}

/// A project that begins in a store, with all that people do there.
fn lives(url: &str, project: &Project) {
    project.exits(0, &["init", "--store", url]);
    let said = project.apply();
    assert!(!said.err.contains("not pinned"), "{}", said.all());
    assert!(!project.directory().join(".gabion/state.db").exists());
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["state", "taint", "gabion_data.top"]);
    let changed = project.exits(0, &["state", "diff", "1"]);
    assert!(changed.out.contains("3 added"), "{}", changed.all());
    project.exits(0, &["state", "pull", "-o", "copy.json"]);
    project.apply();
    let said = project.exits(1, &["state", "push", "copy.json"]);
    assert!(said.err.contains("the file is older"), "{}", said.all());
    project.exits(0, &["state", "compact", "--keep-runs", "1", "-y"]);
    project.exits(0, &["state", "verify"]);
    let said = project.exits(0, &["state", "unlock"]);
    assert!(said.err.contains("Nobody holds the state."), "{}", said.all());
    // Without its pin the state could be lost unseen.
    let pinned = settings(project);
    let unpinned: Vec<&str> = pinned
        .lines()
        .filter(|line| !line.starts_with("lineage"))
        .collect();
    project.write("gabion.yml", unpinned.join("\n"));
    let said = project.exits(0, &["plan"]);
    assert!(said.err.contains("the state is not pinned"), "{}", said.all());
    project.exits(0, &["init"]);
    assert!(settings(project).contains("lineage: "));
    project.exits(0, &["destroy", "-y"]);
}
