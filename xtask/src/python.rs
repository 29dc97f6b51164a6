//! The Python that routers are installed with.

use std::process::{Command, Stdio};

use crate::Failure;
use crate::process;

/// The oldest Python the package locks have wheels for.
const OLDEST: (u32, u32) = (3, 10);

/// Makes sure that `python3` is new enough and can make virtual environments with pip in them.
///
/// On a build machine that is Debian's and ours to change (CI set, root) what is missing is installed.
pub(crate) fn ensure() -> Result<(), Failure> {
    let problem = match problem() {
        None => return Ok(()),
        Some(problem) => problem,
    };
    if !may_install() {
        return Err(format!("{problem}\n{}", advice()));
    }
    eprintln!("{problem}: installing it");
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "python3",
        "python3-venv",
    ]);
    process::run(&mut install)?;
    match self::problem() {
        None => Ok(()),
        Some(problem) => Err(problem),
    }
}

/// Returns what is wrong with `python3`, if anything is.
fn problem() -> Option<Failure> {
    let script = "import sys, venv, ensurepip; print(*sys.version_info[:2])";
    let output = Command::new("python3")
        .args(["-c", script])
        .stderr(Stdio::null())
        .output();
    let output = match output {
        Err(_) => return Some("`python3` was not found".to_owned()),
        Ok(output) if !output.status.success() => {
            return Some("`python3` has no `venv` module with `ensurepip`".to_owned());
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
    };
    let version: Vec<u32> = output
        .split_whitespace()
        .filter_map(|part| part.parse().ok())
        .collect();
    match version[..] {
        [major, minor] if (major, minor) >= OLDEST => None,
        _ => Some(format!(
            "`python3` is {}; routers need {}.{} or newer",
            version_text(&version),
            OLDEST.0,
            OLDEST.1
        )),
    }
}

fn version_text(version: &[u32]) -> String {
    let parts: Vec<String> = version.iter().map(u32::to_string).collect();
    parts.join(".")
}

fn may_install() -> bool {
    let runs = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output().ok();
    let root = runs("id", &["-u"]).is_some_and(|output| output.stdout.starts_with(b"0\n"));
    let apt = runs("apt-get", &["--version"]).is_some_and(|output| output.status.success());
    std::env::var_os("CI").is_some() && root && apt
}

fn advice() -> &'static str {
    "The SGLang router comes as a Python package, so Python 3.10 or newer with `venv` is needed:
    Debian, Ubuntu:  sudo apt-get install python3-venv
    Fedora:          sudo dnf install python3
    macOS:           brew install python"
}
