//! Deliberate mistakes: exact replacements in the sources, each of which the simulation must catch.
//!
//! They are applied to a copy of the workspace, which is built and simulated on its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A deliberate mistake.
#[derive(Debug, Clone, Copy)]
pub struct Mutation {
    /// Its name.
    pub name: &'static str,
    /// What is wrong, as people read it.
    pub what: &'static str,
    /// The replacements that make it.
    pub edits: &'static [Edit],
}

/// One replacement of a mutation.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// The file, from the top of the workspace.
    pub file: &'static str,
    /// The text to replace, which must be there exactly once.
    pub find: &'static str,
    /// What it becomes.
    pub replace: &'static str,
}

/// The mistakes that the simulation must catch.
pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "result-without-intent",
        what: "a call is sent, and its result written, without an intent",
        edits: &[Edit {
            file: "engine/src/apply/executor.rs",
            find: "        self.record(intent, batch)?;\n        batch.effects.push(Effects::Launch(",
            replace: "        let _unwritten = intent;\n        batch.effects.push(Effects::Launch(",
        }],
    },
    Mutation {
        name: "sequence-not-checked",
        what: "an append is taken whatever the writer thinks the log's end is",
        edits: &[
            Edit {
                file: "engine/src/state/memory.rs",
                find: "        if self.state.serial != request.expected_sequence {",
                replace: "        if false && self.state.serial != request.expected_sequence {",
            },
            Edit {
                file: "engine/src/state/fold/folding.rs",
                find: "        if event.sequence != serial + 1 {",
                replace: "        if false && event.sequence != serial + 1 {",
            },
        ],
    },
    Mutation {
        name: "epoch-not-checked",
        what: "an append is taken from a writer whose lease another has taken over",
        edits: &[Edit {
            file: "engine/src/state/memory.rs",
            find: "        self.holds(request.epoch)?;\n",
            replace: "",
        }],
    },
    Mutation {
        name: "tombstone-dropped",
        what: "a creation that was settled as absent is forgotten at once",
        edits: &[Edit {
            file: "engine/src/state/fold/folding.rs",
            find: "                self.state.tombstones.insert(\n                    operation,\n                    Tombstone {",
            replace: "                BTreeMap::new().insert(\n                    operation,\n                    Tombstone {",
        }],
    },
    Mutation {
        name: "first-empty-read-believed",
        what: "a creation is settled as absent as soon as one look finds nothing",
        edits: &[Edit {
            file: "providers/testing/src/fake/provider.rs",
            find: "        let end = Instant::now() + self.window;",
            replace: "        let end = Instant::now();",
        }],
    },
];

/// What became of a mutation.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The seed that caught it; `None` when none did.
    pub seed: Option<u64>,
    /// What it found, or why the mutation could not be tried.
    pub found: String,
}

/// Makes each mistake in a copy of the workspace and simulates it; `told` hears what became of each.
///
/// # Errors
/// When the copy cannot be made.
pub fn run(
    workspace: &Path,
    cargo: &str,
    points: u64,
    told: &mut dyn FnMut(&Mutation, &Caught),
) -> std::io::Result<bool> {
    let home = workspace.join("target").join("mutations");
    let copy = home.join("workspace");
    let mut all = true;
    for mutation in MUTATIONS {
        copy_changed(workspace, &copy)?;
        let caught = match apply(&copy, mutation) {
            Ok(()) => simulate(&copy, &home.join("target"), cargo, points)?,
            Err(why) => Caught {
                seed: None,
                found: why,
            },
        };
        all &= caught.seed.is_some();
        told(mutation, &caught);
    }
    Ok(all)
}

/// Checks that a mistake can be made.
///
/// # Errors
/// When a text is not there exactly once: the sources have moved on, and the mutation has to follow.
pub fn fits(workspace: &Path, mutation: &Mutation) -> Result<(), String> {
    for edit in mutation.edits {
        mistaken(workspace, edit)?;
    }
    Ok(())
}

/// Makes a mistake.
fn apply(workspace: &Path, mutation: &Mutation) -> Result<(), String> {
    for edit in mutation.edits {
        let text = mistaken(workspace, edit)?;
        std::fs::write(workspace.join(edit.file), text).map_err(|error| format!("{}: {error}", edit.file))?;
    }
    Ok(())
}

/// Returns a file with a replacement made.
fn mistaken(workspace: &Path, edit: &Edit) -> Result<String, String> {
    let path = workspace.join(edit.file);
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", edit.file))?;
    match text.matches(edit.find).count() {
        1 => Ok(text.replacen(edit.find, edit.replace, 1)),
        count => Err(format!(
            "{}: the text to replace is there {count} times, and must be there once:\n{}",
            edit.file, edit.find
        )),
    }
}

fn simulate(copy: &Path, target: &Path, cargo: &str, points: u64) -> std::io::Result<Caught> {
    let output = Command::new(cargo)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .args(["run", "--quiet", "--package", "gabion-simulation"])
        .args(["--", "--store", "memory", "--crash-points", &points.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix("violation: "));
    let seed = text.lines().find_map(|line| {
        let (_, rest) = line.trim().split_once("cargo xtask simulate --seed ")?;
        rest.split(' ').next()?.parse().ok()
    });
    Ok(match (found, seed) {
        (Some(found), Some(seed)) => Caught {
            seed: Some(seed),
            found: found.to_owned(),
        },
        _ if output.status.success() => Caught {
            seed: None,
            found: format!("not within {points} crash points"),
        },
        _ => Caught {
            seed: None,
            found: format!(
                "it could not be simulated:\n{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        },
    })
}

/// Copies the sources; files that are the same already stay untouched, so that only what changed is built again.
fn copy_changed(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let (source, goal): (PathBuf, PathBuf) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if name != "target" && name != ".git" {
                copy_changed(&source, &goal)?;
            }
        } else if kind.is_file() {
            let text = std::fs::read(&source)?;
            if std::fs::read(&goal).ok().as_ref() != Some(&text) {
                std::fs::write(&goal, text)?;
            }
        }
    }
    Ok(())
}
