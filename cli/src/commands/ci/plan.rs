//! `gabion ci plan`: the plan of a pull request, as one comment and as files for the job that applies it.

use std::path::{Path, PathBuf};
use std::process::Command;

use gabion_engine::plan::Plan;

use super::target::{base_commit, hand_on, head_commit, is_commit, number, run_id, show, tell};
use crate::args::CiPlan;
use crate::ci::{Child, Review, Thread, message, run_self};
use crate::commands::show::read_plan;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::options::Trust;
use crate::project::LoadedProject;

/// Plans, writes the plan and what it was made of into a directory, and keeps the one comment up to date.
pub(super) async fn run(args: &CiPlan, context: &Context) -> Outcome {
    let interrupts = Interrupts::listen(&context.printer)?;
    let mut context = context.clone();
    let directory = &args.dir;
    std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
    let plan_path = directory.join("plan.gabion");
    // What an earlier attempt left must not be taken for this one's.
    for name in ["plan.gabion", "plan.md", "plan.json", "review.json"] {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritable(&directory.join(name), &error));
            }
            _ => {}
        }
    }
    let base = match args.trusted {
        true => None,
        false => Some(BaseCheckout::make(args, &context)?),
    };
    if let Some(base) = &base {
        let base = Some(base.project.clone());
        context.options.trust = Trust::Untrusted { base };
    }
    let mut arguments = vec![
        "plan".to_owned(),
        "--detailed-exitcode".into(),
        "--format".into(),
        "markdown".into(),
    ];
    arguments.extend(["--out".to_owned(), plan_path.to_string_lossy().into_owned()]);
    if let Some(base) = &base {
        arguments.extend([
            "--untrusted".to_owned(),
            "--base".into(),
            base.project.to_string_lossy().into_owned(),
        ]);
    }
    let child = run_self(&context, &interrupts, &arguments, base.is_none()).await?;
    let plan = plan_path.exists().then(|| read_plan(&plan_path)).transpose()?;
    let body = match &plan {
        Some(_) => child.out.clone(),
        None => {
            let project = LoadedProject::read(&context.options);
            let mark = message::mark(
                "plan",
                &project.project.settings.project.value,
                context.options.stack.as_deref(),
            );
            message::failed(&mark, "plan", &child, None)
        }
    };
    write(&directory.join("plan.md"), &body)?;
    if let Some(plan) = &plan {
        let json = run_self(
            &context,
            &interrupts,
            &[
                "show".to_owned(),
                plan_path.to_string_lossy().into_owned(),
                "--format".into(),
                "json".into(),
            ],
            base.is_none(),
        )
        .await?;
        write(&directory.join("plan.json"), &json.out)?;
        let review = Review {
            format_version: Review::FORMAT,
            digest: plan.digest().to_string(),
            commit: args.commit.clone().or_else(|| head_commit(&context.options)),
            run: run_id(&context.options),
        };
        write(&directory.join("review.json"), &review.to_json())?;
    }
    show(&context, &body);
    hand_on(&context, &outputs(&child, plan.as_ref()));
    context.printer.data(&body);
    if !args.no_comment {
        let thread = number(args.number, &context.options).map(Thread::Request);
        tell(&context, &args.service, thread, &body, false).await;
    }
    match child.exit() {
        Exit::Changes => Ok(Exit::Done),
        other => Ok(other),
    }
}

fn outputs(child: &Child, plan: Option<&Plan>) -> Vec<(&'static str, String)> {
    let mut outputs = vec![
        ("exit", child.exit().code().to_string()),
        ("changes", plan.is_some_and(Plan::has_changes).to_string()),
    ];
    if let Some(plan) = plan {
        outputs.push(("digest", plan.digest().to_string()));
    }
    outputs
}

/// The project as it is without the request, in a directory of its own for as long as this lives.
struct BaseCheckout {
    /// The repository.
    repository: PathBuf,
    /// The checkout.
    checkout: PathBuf,
    /// The project in it.
    project: PathBuf,
    _directory: tempfile::TempDir,
}

impl BaseCheckout {
    fn make(args: &CiPlan, context: &Context) -> Result<Self, Failure> {
        let options = &context.options;
        let commit = args
            .base
            .clone()
            .or_else(|| base_commit(options))
            .filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| {
            Failure::new("no base")
                .detail("Which commit the request is to be merged onto is neither said nor known from the environment.")
                .hint("name it: --base COMMIT, all of its name; or, if whoever wrote the files is trusted: --trusted")
        })?;
        let repository = std::fs::canonicalize(&options.directory).map_err(|error| {
            Failure::new("no project directory").detail(format!("{}: {error}.", options.directory.display()))
        })?;
        let within = git(&repository, &["rev-parse", "--show-prefix"])?;
        let directory =
            tempfile::tempdir().map_err(|error| unwritable(Path::new("a temporary directory"), &error))?;
        let checkout = directory.path().join("base");
        let place = checkout.to_string_lossy().into_owned();
        git(
            &repository,
            &["worktree", "add", "--force", "--detach", &place, &commit],
        )?;
        let project = checkout.join(within.trim_end());
        // A project that is new has no directory there yet.
        std::fs::create_dir_all(&project).map_err(|error| unwritable(&project, &error))?;
        Ok(Self {
            repository,
            checkout,
            project,
            _directory: directory,
        })
    }
}

impl Drop for BaseCheckout {
    fn drop(&mut self) {
        let place = self.checkout.to_string_lossy().into_owned();
        // git forgets a directory that is gone by itself, later.
        let _ = git(&self.repository, &["worktree", "remove", "--force", &place]);
    }
}

/// Runs git, which runs nothing that the repository brings.
fn git(directory: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new("git cannot check out the base")
            .detail(why)
            .hint("check out the repository with its history; on GitHub:\n    with: {fetch-depth: 0}")
    };
    let output = Command::new("git")
        .args(["-c", "core.hooksPath=/dev/null", "-C"])
        .arg(directory)
        .args(arguments)
        .output()
        .map_err(|error| failed(format!("git cannot be run: {error}.")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(crate::render::words::plain(said.trim())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("the files of the job cannot be written").detail(format!("{}: {error}.", path.display()))
}
