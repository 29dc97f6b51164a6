//! Environments from a real pip, without a network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gabion_host::package::{Ecosystem, PackageError, PackageSpec, PackageStore, ensure};

/// Makes a wheel with one command, `tiny-tool`, and returns its directory and digest.
fn wheel(root: &Path) -> (PathBuf, String) {
    let script = r#"
import base64, hashlib, sys, zipfile
files = {
    "tiny_tool.py": "def main():\n    print('tiny')\n",
    "tiny_tool-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-tool\nVersion: 1.0\n",
    "tiny_tool-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny-tool = tiny_tool:main\n",
}
record = ""
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(text)}\n"
files["tiny_tool-1.0.dist-info/RECORD"] = record + "tiny_tool-1.0.dist-info/RECORD,,\n"
path = sys.argv[1] + "/tiny_tool-1.0-py3-none-any.whl"
with zipfile.ZipFile(path, "w") as archive:
    for name, text in files.items():
        archive.writestr(name, text)
print(hashlib.sha256(open(path, "rb").read()).hexdigest(), end="")
"#;
    let directory = root.join("wheels");
    std::fs::create_dir(&directory).unwrap();
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (directory, String::from_utf8(output.stdout).unwrap())
}

fn package(wheels: &Path, digest: &str) -> PackageSpec {
    PackageSpec {
        ecosystem: Ecosystem::Pypi,
        name: "tiny-tool".to_owned(),
        version: "1.0".to_owned(),
        requirements: format!(
            "--no-index\n--find-links {}\ntiny-tool==1.0 --hash=sha256:{digest}\n",
            wheels.display()
        ),
    }
}

fn store(root: &Path) -> PackageStore {
    PackageStore {
        cache_root: root.join("cache"),
        python: "python3".to_owned(),
        timeout: Duration::from_secs(300),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_callers_makes_it_and_a_half_made_one_is_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let (wheels, digest) = wheel(root.path());
    let package = package(&wheels, &digest);
    let store = store(root.path());
    let phases = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (store, package, phases) = (store.clone(), package.clone(), Arc::clone(&phases));
            tokio::spawn(async move {
                ensure(&store, &package, &|phase| {
                    phases.lock().unwrap().push(phase.to_owned());
                })
                .await
            })
        })
        .collect();
    let mut paths = Vec::new();
    for caller in callers {
        paths.push(caller.await.unwrap().unwrap());
    }
    assert!(paths.windows(2).all(|pair| pair[0] == pair[1]));
    let count = |phase: &str| {
        phases
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == phase)
            .count()
    };
    assert_eq!(count("installing tiny-tool 1.0"), 1);
    assert_eq!(
        count("waiting for another process that installs tiny-tool 1.0"),
        2
    );
    let run = || {
        Command::new(paths[0].join("bin/tiny-tool"))
            .output()
            .unwrap()
            .stdout
    };
    assert_eq!(run(), b"tiny\n");

    // As if the machine had gone down half way through.
    std::fs::remove_file(paths[0].join(".complete")).unwrap();
    std::fs::remove_file(paths[0].join("bin/python")).unwrap();
    ensure(&store, &package, &|_| ()).await.unwrap();
    assert_eq!(run(), b"tiny\n");
}

#[tokio::test]
async fn a_wrong_hash_is_refused_and_shown() {
    let root = tempfile::tempdir().unwrap();
    let (wheels, _) = wheel(root.path());
    let package = package(&wheels, &"0".repeat(64));
    let error = ensure(&store(root.path()), &package, &|_| ()).await.unwrap_err();
    let PackageError::Install { path, output, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(output.contains("DO NOT MATCH THE HASHES"), "{output}");
    assert!(!path.join(".complete").exists());
}

#[tokio::test]
async fn missing_python_says_what_to_install() {
    let root = tempfile::tempdir().unwrap();
    let mut store = store(root.path());
    store.python = "/no/such/python3".to_owned();
    let error = ensure(&store, &package(root.path(), "0"), &|_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, PackageError::PythonMissing { .. }), "{error:?}");
    assert!(
        error.to_string().contains("apt-get install python3 python3-venv"),
        "{error}"
    );
}

#[tokio::test]
async fn names_that_would_leave_the_cache_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut package = package(root.path(), "0");
    package.version = "../1".to_owned();
    let error = ensure(&store(root.path()), &package, &|_| ()).await.unwrap_err();
    assert!(matches!(error, PackageError::Invalid { .. }), "{error:?}");
}
