//! Programs that run in containers: what documents ask for, and which machines can do it.
//!
//! A document with an `image` runs in a container of its machine's own Docker daemon, every other one as a process. The
//! container has a network of its own, so that a program's fixed port is no other program's; routers of replica groups,
//! prefill and decode workers and the nodes of a replica have their machine's, as they have it in dstack: they are reached on
//! ports that only the program knows, and tell each other the machine's addresses.

use gabion_engine::config::{Lowered, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::value::{AttributePath, Value};

use super::backend::LOCAL;
use super::builder::ResourceBuilder;
use super::local::LocalRuntime;
use super::program::{shell_argv, text};
use super::project::Context;
use super::role::{self, Part, uses_variable};
use super::run_keys::unsupported;
use crate::document::dialect::Member;
use crate::document::resources::Resources;
use crate::document::run::RunFields;
use crate::grammar::mount::Mount;
use crate::term::Text;

/// What a container of a document is made of.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) image: &'a Spanned<Text>,
    pub(super) privileged: bool,
    pub(super) resources: &'a Resources,
    pub(super) run: &'a RunFields,
    /// Whether the machine is given to it whole, accelerators and all.
    pub(super) takes_gpus: bool,
    /// Whether it has the machine's network.
    pub(super) shares_network: bool,
}

/// Gives a unit its container. `ports` are the container's own, by the unit's names for them.
pub(super) fn equip(
    builder: ResourceBuilder,
    wish: Wish<'_>,
    ports: impl IntoIterator<Item = (String, u16)>,
) -> ResourceBuilder {
    let mut entries = vec![("image", text(&wish.image.value))];
    let whole = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let resources = wish.resources;
    if wish.privileged {
        entries.push(("privileged", true.into()));
    }
    if wish.takes_gpus && resources.gpu.value.is_needed() {
        entries.push(("gpus", "all".into()));
    }
    // What a document names as the most is the most that it gets.
    if let Some(most) = resources.memory.max {
        entries.push(("memory_mib", whole(most.as_megabytes())));
    }
    if let Some(most) = resources.cpu.value.count.max {
        entries.push(("cpus", Value::Float(f64::from(most))));
    }
    if let Some(size) = resources.shm_size {
        entries.push(("shm_mib", whole(size.as_megabytes())));
    }
    let mounts: Vec<Value> = wish
        .run
        .volumes
        .iter()
        .filter_map(|mount| match mount {
            Mount::Instance(mount) => Some(Value::map([
                ("source", Value::string(&mount.instance_path.0)),
                ("target", Value::string(&mount.path.0)),
            ])),
            Mount::Volume(_) => None,
        })
        .collect();
    if !mounts.is_empty() {
        entries.push(("mounts", Value::List(mounts)));
    }
    if wish.shares_network {
        entries.push(("network", "host".into()));
    }
    let ports: Vec<(String, Value)> = ports
        .into_iter()
        .map(|(name, port)| (name, Value::Int(i64::from(port))))
        .collect();
    if !ports.is_empty() {
        entries.push(("ports", Value::map(ports)));
    }
    let image_path = AttributePath::root("container").key("image");
    let mut builder = builder
        .input("runtime", "docker")
        .input("container", Value::map(entries))
        .at("runtime", &wish.image.span)
        .at("container", &wish.image.span)
        .at_path(image_path, &wish.image.span);
    if let Some(login) = &wish.run.registry_auth {
        builder = builder.input(
            "registry_auth",
            Value::map([
                ("username", text(&login.username)),
                ("password", text(&login.password)),
            ]),
        );
    }
    if let Some(user) = &wish.run.user {
        builder = builder.input("user", user.to_string());
    }
    builder
}

/// Returns the program and arguments in a container; `None` means the image's own.
pub(super) fn argv(run: &RunFields, commands: impl Iterator<Item = String>) -> Option<Value> {
    let mut commands = commands.peekable();
    if let Some(entrypoint) = &run.entrypoint {
        let words = words(&entrypoint.value).unwrap_or_default();
        return Some(Value::List(
            words
                .into_iter()
                .chain(commands)
                .map(|word| text(&word))
                .collect(),
        ));
    }
    commands.peek()?;
    // dstack's own default: images may lack bash.
    let shell = run.shell.as_ref().map_or("/bin/sh", |shell| shell.value.path());
    Some(shell_argv(shell, commands))
}

/// Reports what of a run cannot be carried out in a container.
pub(super) fn check_run(run: &RunFields, node: &Node, directory: &str, problems: &mut Diagnostics) {
    let place = |key: &str, index: usize| {
        let (key, list) = node.entry(key)?;
        let item = list.as_list().and_then(|items| items.get(index));
        Some(item.map_or(&key.span, |item| &item.span))
    };
    for (index, mount) in run.volumes.iter().enumerate() {
        if let (Mount::Volume(_), Some(span)) = (mount, place("volumes", index)) {
            problems.push(unsupported(
                span,
                format!("`{mount}` is a network volume, and this build has none."),
                "mount a directory of the machine: `/data:/data`",
            ));
        }
    }
    if let Some(span) = place("repos", 0).filter(|_| !run.repos.is_empty()) {
        problems.push(unsupported(
            span,
            "A container does not see the project's directory, and this build checks nothing out.".to_owned(),
            &format!("mount it: `volumes: [\"{directory}:/workflow\"]`, with `working_dir: /workflow`"),
        ));
    }
    for (index, file) in run.files.iter().enumerate() {
        if let (true, Some(span)) = (file.path.starts_with('/'), place("files", index)) {
            problems.push(unsupported(
                span,
                format!(
                    "`{}` is outside the directory that files are copied to.",
                    file.path
                ),
                "give it a relative path, or mount it with `volumes`",
            ));
        }
    }
    if let Some(entrypoint) = run
        .entrypoint
        .as_ref()
        .filter(|entrypoint| words(&entrypoint.value).is_none())
    {
        problems.push(
            Diagnostic::error("bad-entrypoint", "entrypoint with an open quote")
                .detail("A quote of this command line is not closed.")
                .at(entrypoint.span.clone())
                .hint("close it, or write the program as the first of `commands`"),
        );
    }
}

/// Whether replicas are in containers that have their machine's network.
pub(super) fn shares_network(member: &Member<'_>) -> bool {
    let is_known_to_others = member.router.is_some()
        || matches!(Part::of(member), Part::Half(..))
        || uses_variable(member.commands, role::BOOTSTRAP_VARIABLE)
        || member.nodes() > 1;
    member.image.is_some() && is_known_to_others
}

/// Whether replicas are in containers whose ports are no other program's.
pub(super) fn has_own_ports(member: &Member<'_>) -> bool {
    member.image.is_some() && !shares_network(member)
}

/// Reports that the machine which runs gabion has nothing to run containers with; `found` is what was seen there.
pub(super) fn check_local(
    image: &Spanned<Text>,
    found: Option<&Result<LocalRuntime, String>>,
    problems: &mut Diagnostics,
) {
    let Some(Err(why)) = found else { return };
    problems.push(
        Diagnostic::error("no-container-runtime", "no container runtime")
            .detail(format!(
                "`image` needs a container runtime; backend `{LOCAL}` has none: {why}"
            ))
            .at(image.span.clone())
            .hint("install and start Docker there, or remove `image` and write `commands` that run on the machine"),
    );
}

/// Says that an image is not on the machine that runs gabion yet.
pub(super) fn note_absent(image: &Spanned<Text>, context: &Context, lowered: &mut Lowered) {
    let Some(Ok(found)) = &context.local_runtime else {
        return;
    };
    if found.absent.contains(&*image.value) {
        let note = format!(
            "The image `{}` is not on this machine yet: apply pulls it.",
            image.value
        );
        lowered.notes.push((note.into(), Some(image.span.place())));
    }
}

/// Splits a command line as a shell would; `None` when a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        character => word.push(character),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        character => word.push(character),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            character if character.is_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would() {
        let cases = [
            ("python -m http.server", Some(vec!["python", "-m", "http.server"])),
            (
                "a 'b c' \"d \\\" e\" f\\ g ''",
                Some(vec!["a", "b c", "d \" e", "f g", ""]),
            ),
            ("", Some(vec![])),
            ("a 'b", None),
        ];
        for (line, expected) in cases {
            let found = words(line);
            let found = found
                .as_ref()
                .map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found, expected, "{line}");
        }
    }
}
