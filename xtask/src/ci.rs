//! `cargo xtask ci`: everything a change must pass, each step timed. A failed step does not hide the later ones.

use std::process::Command;
use std::time::Instant;

use crate::{Failure, lean, process, test, tools};

struct Step {
    name: &'static str,
    run: fn() -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        run: fmt,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "lean",
        run: lean::check,
    },
    Step {
        name: "test",
        run: tests,
    },
    Step {
        name: "doc",
        run: doc,
    },
    Step {
        name: "deny",
        run: deny,
    },
    Step {
        name: "clean",
        run: clean,
    },
];

/// Runs the steps named, or all.
pub(crate) fn run(names: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !STEPS.iter().any(|step| step.name == **name))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!(
            "there is no step `{unknown}`; the steps are {}",
            known.join(", ")
        ));
    }
    let begun = Instant::now();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
    {
        println!("==> {}", step.name);
        let started = Instant::now();
        let result = (step.run)();
        let seconds = started.elapsed().as_secs();
        if let Err(failure) = &result {
            println!("{} failed: {failure}", step.name);
            failed.push(step.name);
        }
        lines.push(format!(
            "{:<8}{seconds:>5} s  {}",
            step.name,
            if result.is_ok() { "ok" } else { "FAILED" }
        ));
        println!("==> {} took {seconds} s", step.name);
    }
    println!(
        "\n{}\n{:<8}{:>5} s",
        lines.join("\n"),
        "all",
        begun.elapsed().as_secs()
    );
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn fmt() -> Result<(), Failure> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), Failure> {
    process::run(process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn tests() -> Result<(), Failure> {
    test::run(&[])
}

fn doc() -> Result<(), Failure> {
    let mut doc = process::cargo();
    doc.args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut doc)
}

/// Checks deny.toml, without advisories: see there.
fn deny() -> Result<(), Failure> {
    let program = tools::CARGO_DENY.ensure()?;
    let mut deny = Command::new(program);
    deny.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        .current_dir(crate::root());
    process::run(&mut deny)
}

/// Fails if a step changed a file of the repository: then something generated was not committed as it is generated.
///
/// A working copy with changes of one's own cannot be told apart from that, so there it only says so.
fn clean() -> Result<(), Failure> {
    let mut status = Command::new("git");
    status.args(["status", "--porcelain"]).current_dir(crate::root());
    let changed = process::output(&mut status)?;
    if changed.is_empty() {
        return Ok(());
    }
    if std::env::var_os("CI").is_none() {
        println!("not committed yet:\n{changed}");
        return Ok(());
    }
    process::run(
        Command::new("git")
            .args(["--no-pager", "diff"])
            .current_dir(crate::root()),
    )?;
    Err(format!("files differ from what is committed:\n{changed}"))
}
