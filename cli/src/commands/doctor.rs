//! `gabion doctor`: whether this machine has what gabion needs.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gabion_engine::state::fingerprint::read_key_file;
use gabion_engine::state::process::{Liveness, Processes};
use gabion_engine::state::store::describe_holder;
use gabion_engine::state::verify::verify;
use gabion_engine::words::capitalised;
use nix::unistd::{AccessFlags, access};
use serde_json::json;

use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::prose;
use crate::render::words::{count, plain, store_warning};
use crate::state_access::{StateAccess, key_path};
use crate::wiring;

/// How long a program that is asked for its version may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Nothing is wrong, and people may want to know.
    Note,
    Bad,
}

struct Check {
    verdict: Verdict,
    what: String,
    hint: Option<String>,
}

impl Check {
    fn good(what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Good,
            what: what.into(),
            hint: None,
        }
    }

    fn note(what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Note,
            ..Self::good(what)
        }
    }

    fn bad(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            what: what.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Checks everything and changes nothing.
pub(crate) async fn run(context: &Context) -> Outcome {
    let options = &context.options;
    let mut checks = vec![Check::good(format!("gabion {}", env!("CARGO_PKG_VERSION")))];
    checks.push(python(options.environment.set("GABION_PYTHON").unwrap_or("python3")).await);
    checks.push(match Processes::default().own() {
        Ok(_) => Check::good("processes can be looked at in /proc"),
        Err(error) => Check::bad(
            format!("/proc cannot be read: {error}"),
            "gabion needs Linux with /proc to know its programs by more than their pid",
        ),
    });
    let dirs = &options.dirs;
    for (name, path) in [
        ("settings", &dirs.config),
        ("state", &dirs.state),
        ("data", &dirs.data),
        ("cache", &dirs.cache),
    ] {
        checks.push(writable(name, path));
    }
    checks.push(key(context));
    checks.extend(project(context).await);
    checks.push(match wiring::container_version(options).await {
        Ok(version) => Check::good(format!("Docker {} for what has an `image`", plain(&version))),
        // Only who needs one misses it.
        Err(why) => Check::note(format!(
            "no containers on this machine: {}",
            plain(why.trim_end_matches('.'))
        )),
    });
    print(&checks, context);
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if bad { Exit::Error } else { Exit::Done })
}

async fn python(program: &str) -> Check {
    let hint = "install Python 3 with venv, for example: apt install python3-venv";
    let mut command = tokio::process::Command::new(program);
    command
        .args([
            "-c",
            "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))",
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
            Check::good(format!("{program} {} with venv", plain(version.trim())))
        }
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let why = text.lines().last().unwrap_or("it fails").trim().to_owned();
            Check::bad(format!("{program} has no venv: {}", plain(&why)), hint)
        }
        Ok(Err(error)) => Check::bad(format!("{program} cannot be run: {error}"), hint),
        Err(_) => Check::bad(format!("{program} does not answer"), hint),
    }
}

/// Checks that a directory can be written, or made where it is missing.
fn writable(name: &str, path: &Path) -> Check {
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(path);
    let shown = path.display();
    match access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if existing == path => Check::good(format!("{name} directory {shown}")),
        Ok(()) => Check::good(format!("{name} directory {shown} (made when it is needed)")),
        Err(error) => Check::bad(
            format!(
                "{name} directory {shown} cannot be written: {}: {error}",
                existing.display()
            ),
            format!("give your user write access to {}", existing.display()),
        ),
    }
}

fn key(context: &Context) -> Check {
    if context.options.environment.set("GABION_KEY").is_some() {
        return match crate::state_access::existing_key(&context.options) {
            Ok(_) => Check::good("fingerprint key from GABION_KEY"),
            Err(_) => Check::bad(
                "GABION_KEY is not a fingerprint key",
                "set it to 64 hexadecimal digits, for example from: openssl rand -hex 32",
            ),
        };
    }
    let path = key_path(&context.options);
    match read_key_file(&path) {
        Ok(Some(key)) => Check::good(format!("fingerprint key {} (id {})", path.display(), key.id())),
        Ok(None) => Check::good("no fingerprint key yet (made when it is needed)"),
        Err(error) => {
            let hint = error
                .hint()
                .unwrap_or_else(|| "make it readable for you alone".to_owned());
            Check::bad(capitalised(&error.to_string()), hint)
        }
    }
}

/// Checks the project in the directory, if there is one.
async fn project(context: &Context) -> Vec<Check> {
    let options = &context.options;
    let project = LoadedProject::read(options);
    if project.project.document_count() == 0 && project.problems.has_errors() {
        return vec![Check::note("no project in this directory")];
    }
    let Ok(access) = StateAccess::of(&project, options) else {
        return vec![Check::bad(
            "the project's settings have problems",
            "gabion validate",
        )];
    };
    let mut checks = Vec::new();
    match access.load().await {
        Err(failure) => {
            checks.push(Check::bad(
                format!(
                    "the state at {} cannot be used: {}",
                    access.store.location(),
                    failure.summary()
                ),
                "gabion state list",
            ));
            return checks;
        }
        Ok(state) if state.lineage.is_none() => {
            checks.push(Check::good("no state yet: a new project"));
            return checks;
        }
        Ok(_) => {}
    }
    match verify(&*access.store).await {
        Ok(found) if found.damage.is_empty() => {
            checks.push(Check::good(format!(
                "state at {}: serial {}, {} and {}, all whole",
                access.store.location(),
                found.serial,
                count(found.records, "object"),
                count(usize::try_from(found.events).unwrap_or(usize::MAX), "event"),
            )));
            checks.extend(found.warnings.iter().map(|warning| Check {
                hint: Some(plain(&warning.hint)),
                ..Check::note(store_warning(warning))
            }));
        }
        Ok(found) => checks.extend(
            found
                .damage
                .into_iter()
                .map(|damage| Check::bad(plain(&damage), "restore the state from a copy")),
        ),
        Err(error) => checks.push(Check::bad(
            capitalised(&error.to_string()),
            "restore the state from a copy",
        )),
    }
    match access.store.lease().await {
        Err(error) => checks.push(Check::bad(capitalised(&error.to_string()), "gabion state list")),
        Ok(None) => checks.push(Check::good("nobody holds the state")),
        Ok(Some(view)) => {
            let gone =
                Processes::default().holder_liveness(&view.holder, access.store.is_local()) == Liveness::Gone;
            let holder = plain(&describe_holder(&view.holder));
            checks.push(Check::note(if gone {
                format!("{holder} ended without giving the state back; the next command takes it over")
            } else {
                format!("{holder} holds the state since {:.0}", view.since)
            }));
        }
    }
    checks
}

fn print(checks: &[Check], context: &Context) {
    let theme = context.printer.data_theme();
    let word = |verdict| match verdict {
        Verdict::Good => ("ok", theme.good),
        Verdict::Note => ("note", theme.calm),
        Verdict::Bad => ("bad", theme.bad),
    };
    let mut text = String::new();
    match context.options.format {
        Format::Json => {
            let list: Vec<_> = checks
                .iter()
                .map(|check| json!({ "verdict": word(check.verdict).0, "what": check.what, "hint": check.hint }))
                .collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:#}", json!({ "checks": list }));
        }
        Format::Markdown => {
            for check in checks {
                let hint = check
                    .hint
                    .as_deref()
                    .map(|hint| format!(" ({})", prose(hint)))
                    .unwrap_or_default();
                let _ = writeln!(
                    text,
                    "- **{}** {}{hint}",
                    word(check.verdict).0,
                    prose(&check.what)
                );
            }
        }
        Format::Text => {
            for check in checks {
                let (word, style) = word(check.verdict);
                let _ = writeln!(text, "{style}{word:4}{style:#}  {}", check.what);
                if let Some(hint) = &check.hint {
                    let _ = writeln!(text, "      hint: {hint}");
                }
            }
        }
    }
    context.printer.data(&text);
}
