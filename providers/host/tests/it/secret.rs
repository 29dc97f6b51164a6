//! A secret is in one 0600 file and in no process's arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gabion_host::unit::EnvValue;

use crate::support::{Root, launch, log, shell, until, with_env};

const SECRET: &str = "correct-horse-battery-staple-7319";

fn files_with(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, found);
        } else if fs::read(&path)
            .unwrap()
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes())
        {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn a_secret_is_in_the_env_file_alone() {
    let root = Root::new();
    let spec = shell("a", "test -n \"$TOKEN\" && echo has it; exec sleep 600");
    let spec = with_env(spec, "TOKEN", EnvValue::Secret(SECRET.to_owned()));
    assert!(!format!("{spec:?}").contains(SECRET));
    let directory = root.write(&spec);
    launch(&directory, 1).await.unwrap();
    until("it has it", || log(&directory).contains("has it")).await;

    let mut found = Vec::new();
    files_with(root.path(), &mut found);
    assert_eq!(found, ["env"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("env")), 0o600);
    assert_eq!(mode(directory.path()), 0o700);
    assert_eq!(mode(&directory.current_log()), 0o600);
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(arguments) = fs::read(entry.path().join("cmdline")) {
            assert!(!String::from_utf8_lossy(&arguments).contains(SECRET));
        }
    }
}

#[tokio::test]
async fn a_damaged_env_file_is_named_without_its_content() {
    let root = Root::new();
    let directory = root.write(&with_env(
        shell("a", "x"),
        "TOKEN",
        EnvValue::Secret(SECRET.to_owned()),
    ));
    fs::write(directory.path().join("env"), format!("{{\"TOKEN\": {SECRET}")).unwrap();
    for error in [
        directory.secret_env().unwrap_err().to_string(),
        launch(&directory, 1).await.unwrap_err().to_string(),
    ] {
        assert!(error.contains("/env: not a JSON object"), "{error}");
        assert!(!error.contains("horse"), "{error}");
    }
}
