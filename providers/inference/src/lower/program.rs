//! What services and tasks have in common as programs of a machine: their command line, their place and their supervision.

use std::time::Duration;

use gabion_engine::config::{Node, Purpose, Spanned, Target, Template};
use gabion_engine::value::{PathSegment, Value};

use super::builder::ResourceBuilder;
use super::files::{self, Files};
use super::project::Context;
use crate::document::profile::{ProfileParams, Retry, RetryEvent};
use crate::document::run::RunFields;
use crate::term::Text;

/// Returns a duration as attributes have it.
pub(super) fn seconds(duration: Duration) -> Value {
    Value::Int(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// Returns a text, or the template that it is.
pub(super) fn text(text: &str) -> Value {
    if Template::is_in(text) {
        Value::template(text)
    } else {
        Value::from(text)
    }
}

/// Returns the program and arguments of commands, which a shell runs one after the other until one fails.
pub(super) fn argv(run: &RunFields, commands: impl Iterator<Item = String>) -> Value {
    // dstack's own default: images may lack bash, machines hardly do.
    let shell = run.shell.as_ref().map_or("/bin/bash", |shell| shell.value.path());
    shell_argv(shell, commands)
}

/// Returns the arguments of a shell that runs commands one after the other until one fails.
pub(super) fn shell_argv(shell: &str, commands: impl Iterator<Item = String>) -> Value {
    let commands: Vec<String> = commands.collect();
    Value::List(vec![shell.into(), "-c".into(), text(&commands.join(" && "))])
}

/// Returns commands as they are where they run. `address` is that of a replica or node, by the numbers of its group and of
/// itself.
pub(super) fn commands(
    commands: &[Spanned<Text>],
    address: impl Fn(usize, usize) -> String,
) -> impl Iterator<Item = String> {
    commands
        .iter()
        .map(move |command| grouped(&run_values(&command.value, &address)))
}

/// Replaces what dstack knows of a run by what it is here: there are no arguments, and every replica and node has the
/// address of its machine.
fn run_values(command: &str, address: impl Fn(usize, usize) -> String) -> String {
    let Ok(template) = Template::parse(command) else {
        return command.to_owned();
    };
    let mut text = command.to_owned();
    let references: Vec<_> = template.references().collect();
    for reference in references.into_iter().rev() {
        let value = match (&reference.target, &*reference.path.0) {
            _ if reference.to_string() == "run.args" => String::new(),
            (Target::Scope(scope), [PathSegment::Index(group), _, PathSegment::Index(index), ..])
                if &**scope == "groups" =>
            {
                address(*group, *index)
            }
            _ => continue,
        };
        let start = text[..reference.range.start].rfind("${{");
        let end = text[reference.range.end..].find("}}");
        if let (Some(start), Some(end)) = (start, end) {
            text.replace_range(start..reference.range.end + end + 2, &value);
        }
    }
    text
}

/// The address of every replica and node of this machine.
pub(super) const LOOPBACK: &str = "127.0.0.1";

/// Groups a command that ends in `&`, so that `&&` can follow it.
fn grouped(command: &str) -> String {
    let trimmed = command.trim();
    if trimmed.ends_with('&') && !trimmed.ends_with("&&") {
        format!("{{ {trimmed} }}")
    } else {
        trimmed.to_owned()
    }
}

/// Gives a program the directory that it starts in, its files, and the user that it runs as. Returns the directory.
pub(super) fn place(
    run: &RunFields,
    node: &Node,
    files: &Files,
    context: &Context,
    mut builder: ResourceBuilder,
) -> (ResourceBuilder, String) {
    let directory = match &run.working_dir {
        Some(directory) => {
            builder = builder.at("working_dir", &directory.span);
            directory.value.as_str()
        }
        None if files.is_empty() => context.project_directory.as_str(),
        None => files::DIRECTORY,
    };
    if !files.is_empty() {
        builder = builder.input("files", files::value(files));
        if let Some((key, _)) = node.entry("files") {
            builder = builder.at("files", &key.span);
        }
    }
    // Whether this machine has the user is asked when planning: another one may be meant.
    if let Some(user) = run.user.as_ref().filter(|_| context.purpose == Purpose::Plan) {
        builder = builder.input("user", user.to_string());
        if let Some((_, value)) = node.entry("user") {
            builder = builder.at("user", &value.span);
        }
    }
    (builder.input("working_dir", directory), directory.to_owned())
}

/// How long a program may take to stop; a day when there is no limit.
pub(super) fn stop_duration(profile: &ProfileParams) -> Duration {
    let limit = profile.stop_duration.duration();
    limit.unwrap_or(Duration::from_secs(24 * 3600))
}

/// Returns what the process beside a program shall do for it. That there is no capacity, or that a machine is taken
/// away, does not happen to the machine that runs gabion: of `retry` only errors count.
pub(super) fn supervision(profile: &ProfileParams) -> Vec<(&'static str, Value)> {
    let mut inputs = Vec::new();
    if let Some(duration) = retry_duration(profile) {
        inputs.push(("retry_timeout", seconds(duration)));
    }
    if let Some(duration) = profile.max_duration.duration() {
        inputs.push(("run_timeout", seconds(duration)));
    }
    inputs
}

/// Returns for how long a program that fails is started again.
pub(super) fn retry_duration(profile: &ProfileParams) -> Option<Duration> {
    match &profile.retry {
        Retry::Rule(rule) if rule.on_events.contains(&RetryEvent::Error) => Some(rule.duration),
        _ => None,
    }
    .filter(|duration| !duration.is_zero())
}
