//! What README and docs show must be true: their projects load, their commands do what is shown, their links lead
//! somewhere, and the reference is that of the code.
//!
//! A YAML block's fence names its file (`yaml gateway.dstack.yml`); the blocks of one page are one project. Every
//! `console` block is run, in that project or where the page's comment says, see [`console`]; blocks that are not run
//! are `text`.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its pages has failed")]

mod console;
mod page;
mod user;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use page::{pages, root};
use user::User;

fn gabion(home: &Path, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn projects_on_pages_are_valid() {
    let mut projects = 0;
    for page in pages() {
        let files = page.files();
        if files.is_empty() {
            continue;
        }
        let user = User::new();
        user.write(&files);
        let output = gabion(user.home(), &user.project(), &["validate"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}:\n{}",
            page.name(),
            said(&output)
        );
        projects += 1;
    }
    assert!(projects >= 6, "only {projects} pages show a project");
}

#[test]
fn commands_print_what_pages_show() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let blocks: Vec<_> = page
            .blocks()
            .into_iter()
            .filter(|block| block.info == "console")
            .collect();
        if blocks.is_empty() {
            continue;
        }
        let user = User::new();
        match page.stage() {
            Some(stage) => {
                user.copy(&root().join(&stage.example));
                let (code, printed) = user.run(&stage.before);
                assert_eq!(code, Some(0), "{}: {}\n{printed}", page.name(), stage.before);
            }
            None => user.write(&page.files()),
        }
        for step in blocks.iter().flat_map(console::steps) {
            let (printed, code, is_right) = outcome(&user, &step);
            compared += usize::from(!step.shown.is_empty());
            if !is_right {
                wrong.push(format!(
                    "{}: `{}` exits with {code:?} and prints:\n{printed}",
                    page.name(),
                    step.command
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "pages show something else:\n{}",
        wrong.join("\n")
    );
    assert!(compared >= 12, "only {compared} outputs were compared");
}

/// The jobs of a workflow, one after the other on one machine, as a pull request's life has them.
#[test]
fn workflows_do_what_they_say() {
    let mut jobs = Vec::new();
    for page in pages() {
        let steps = page.workflow_steps();
        if steps.is_empty() {
            continue;
        }
        let user = User::new();
        user.write(&page.files());
        for (job, run) in steps {
            let run = format!("export PLAN=../plan.gabion GITHUB_STEP_SUMMARY=../{job}.md; {run}");
            let (code, printed) = user.run(&run);
            assert_eq!(code, Some(0), "{}: job {job}: {run}\n{printed}", page.name());
            let summary = std::fs::read_to_string(user.home().join(format!("{job}.md")));
            jobs.push((job, summary.unwrap_or_default(), printed));
        }
    }
    let [
        (checked, _, valid),
        (plan, planned, _),
        (apply, _, applied),
        (drift, drifted, _),
        (validate, _, _),
    ] = jobs.as_slice()
    else {
        panic!("{jobs:?}");
    };
    assert_eq!(
        [checked, plan, apply, drift, validate],
        ["plan", "plan", "apply", "drift", "validate"]
    );
    assert!(valid.contains("The configuration is valid"), "{valid}");
    assert!(
        planned.contains("| `gabion_data.release` | create |"),
        "{planned}"
    );
    assert!(applied.contains("Apply complete: 1 done"), "{applied}");
    assert!(drifted.contains("gabion drift `ci`: none"), "{drifted}");
}

/// Runs a step; returns what it prints, its exit code, and whether both are as shown.
///
/// What a killed process leaves is seen a moment later, so `drift`, which changes nothing, is asked until it is.
fn outcome(user: &User, step: &console::Step) -> (String, Option<i32>, bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (code, printed) = user.run(&step.command);
        let is_shown = step.shown.is_empty() || console::matches(&step.shown, &printed);
        let is_right = code == Some(step.code) && is_shown;
        if is_right || !step.command.starts_with("gabion drift") || Instant::now() > deadline {
            return (printed, code, is_right);
        }
    }
}

/// Run `cargo run -p gabion -- schema --docs docs/reference` to write it again.
#[test]
fn committed_reference_is_that_of_the_code() {
    let user = User::new();
    let written = user.home().join("reference");
    let output = gabion(
        user.home(),
        user.home(),
        &["schema", "--docs", written.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", said(&output));
    let committed = root().join("docs/reference");
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&written), names(&committed));
    for name in names(&written) {
        let read = |directory: &Path| std::fs::read_to_string(directory.join(&name)).unwrap();
        assert!(
            read(&written) == read(&committed),
            "docs/reference/{} is out of date; run: cargo run -p gabion -- schema --docs docs/reference",
            name.display()
        );
    }
}

#[test]
fn commands_on_pages_exist() {
    let home = tempfile::tempdir().unwrap();
    let mut unknown = Vec::new();
    let mut commands = 0;
    for page in pages() {
        for command in page.commands() {
            commands += 1;
            // A wrong command or flag is an error before `--help` ends the run.
            let mut arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
            arguments.push("--help");
            let output = gabion(home.path(), home.path(), &arguments);
            if !output.status.success() {
                unknown.push(format!("{}: `{command}`\n{}", page.path.display(), said(&output)));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(commands > 20, "only {commands} commands were found");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let prose = page.prose();
        for target in prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let directory = page.path.parent().unwrap();
            let path = if file.is_empty() {
                page.path.clone()
            } else {
                directory.join(file)
            };
            let found = if fragment.is_empty() {
                path.exists()
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                text.lines().any(|line| anchor(line) == fragment)
            };
            if !found {
                broken.push(format!("{}: {target}", page.path.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

/// Returns the anchor of a heading, as code hosts make it; nothing for any other line.
fn anchor(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#') else {
        return String::new();
    };
    let slug = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(slug)
        .collect()
}
