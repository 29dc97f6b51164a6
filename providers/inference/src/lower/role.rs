//! What a replica group's commands say of its engine: its part where prefill and decode are separate, and the port on
//! which decode workers fetch from it.
//!
//! dstack asks the running worker. A plan has to show the part before anything runs, so it is read from the flags that
//! every SGLang engine has for it; the agent compares it with what the worker itself says before it registers it.

use gabion_engine::config::Spanned;
use gabion_engine::diagnostic::Span;

use crate::document::dialect::Member;
use crate::document::replica_group::GroupRole;
use crate::term::Text;

/// SGLang's own default.
const DEFAULT_BOOTSTRAP_PORT: u16 = 8998;

/// The variable that holds the port leased for fetching from a prefill worker.
pub(crate) const BOOTSTRAP_VARIABLE: &str = "BOOTSTRAP_PORT";

/// What is known of a group's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing says.
    Unsaid,
    /// It is said to do everything.
    Whole(Span),
    /// It does one of the two.
    Half(GroupRole, Span),
    /// The commands say something that cannot be understood without running them.
    Unclear(Span),
    /// The key `role` says something else than the commands, which say it at the second place.
    Contradiction(Span, Span),
}

impl Part {
    /// Returns what a group is.
    pub(crate) fn of(member: &Member<'_>) -> Self {
        let mut said = Self::Unsaid;
        for value in flag(member.commands, "--disaggregation-mode") {
            let this = match value.value {
                "prefill" => Self::Half(GroupRole::Prefill, value.span),
                "decode" => Self::Half(GroupRole::Decode, value.span),
                "null" => Self::Whole(value.span),
                _ => Self::Unclear(value.span),
            };
            said = match (said, this) {
                (Self::Unsaid, this) => this,
                (Self::Half(first, span), Self::Half(second, _)) if first == second => {
                    Self::Half(first, span)
                }
                (Self::Whole(span), Self::Whole(_)) => Self::Whole(span),
                // Two branches of a script, perhaps.
                (_, Self::Half(_, span) | Self::Whole(span) | Self::Unclear(span)) => Self::Unclear(span),
                (said, _) => said,
            };
        }
        match (member.role, said) {
            (None, said) => said,
            (Some(role), Self::Half(found, span)) if found != role.value => {
                Self::Contradiction(role.span.clone(), span)
            }
            (Some(role), Self::Whole(span)) => Self::Contradiction(role.span.clone(), span),
            (Some(_), said @ Self::Half(..)) => said,
            (Some(role), _) => Self::Half(role.value, role.span.clone()),
        }
    }

    /// Returns the role, if it is one of the two.
    pub(crate) fn role(&self) -> Option<GroupRole> {
        match self {
            Self::Half(role, _) => Some(*role),
            _ => None,
        }
    }
}

/// The port on which decode workers fetch from a prefill worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BootstrapPort {
    /// Each replica gets one of its own, in `$BOOTSTRAP_PORT`.
    Leased,
    /// This one; where it is written, unless it is the engine's own default.
    Fixed(u16, Option<Span>),
    /// The commands say something that cannot be understood without running them.
    Unclear(Span),
}

impl BootstrapPort {
    /// Returns the port of a group's replicas.
    pub(crate) fn of(commands: &[Spanned<Text>]) -> Self {
        if uses_variable(commands, BOOTSTRAP_VARIABLE) {
            return Self::Leased;
        }
        match flag(commands, "--disaggregation-bootstrap-port").pop() {
            None => Self::Fixed(DEFAULT_BOOTSTRAP_PORT, None),
            Some(value) => match value.value.parse() {
                Ok(port) if port > 0 => Self::Fixed(port, Some(value.span)),
                _ => Self::Unclear(value.span),
            },
        }
    }
}

/// Returns the values that a flag has in commands: `--flag VALUE` and `--flag=VALUE`, without quotes.
pub(crate) fn flag<'a>(commands: &'a [Spanned<Text>], name: &str) -> Vec<Spanned<&'a str>> {
    let mut found = Vec::new();
    for command in commands {
        let mut words = words(&command.value);
        while let Some(word) = words.next() {
            let Some(rest) = word.strip_prefix(name) else {
                continue;
            };
            let value = match rest.strip_prefix('=') {
                Some(value) => Some(unquoted(value)),
                None if rest.is_empty() => words.next(),
                None => continue,
            };
            if let Some(value) = value {
                found.push(Spanned::new(value, place(&command.span, name, value)));
            }
        }
    }
    found
}

/// Returns whether a flag without a value, or a word, stands in commands.
pub(crate) fn word<'a>(commands: &'a [Spanned<Text>], wanted: &str) -> Option<&'a Spanned<Text>> {
    commands
        .iter()
        .find(|command| words(&command.value).any(|word| word == wanted))
}

/// Returns whether commands refer to a variable of the shell.
pub(crate) fn uses_variable(commands: &[Spanned<Text>], name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    commands.iter().any(|command| {
        let text = &command.value;
        [format!("${name}"), format!("${{{name}")].iter().any(|written| {
            text.match_indices(written.as_str())
                .any(|(at, found)| ends(&text[at + found.len()..]))
        })
    })
}

/// Returns the words of a shell command as far as they can be told without a shell.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| *word != "\\").map(unquoted)
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\'', ';', ')'])
}

/// Returns the place of a flag's value in a command, if it is written there as it is.
fn place(span: &Span, flag: &str, value: &str) -> Span {
    let text = span.text();
    let after = text.find(flag).map(|at| at + flag.len());
    match after.and_then(|after| Some(after + text[after..].find(value)?)) {
        Some(at) => span.part(at, at + value.len()),
        None => span.clone(),
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::{FromNode, parse_yaml};
    use gabion_engine::diagnostic::SourceFile;

    use super::*;
    use crate::document::service::Service;

    fn service(group: &str) -> Service {
        let text = format!("type: service\nname: qwen\nport: 8000\nreplicas:\n  - replicas: 1\n{group}");
        let (documents, mut problems) = parse_yaml(&SourceFile::new("a.dstack.yml", text));
        Service::from_node(&documents[0], &mut problems).unwrap()
    }

    fn part(group: &str) -> String {
        match Part::of(&service(group).members()[0]) {
            Part::Half(role, span) => format!("{role} by `{}`", span.text()),
            Part::Whole(span) => format!("whole by `{}`", span.text()),
            Part::Unclear(span) => format!("unclear by `{}`", span.text()),
            Part::Contradiction(role, commands) => format!("`{}` against `{}`", role.text(), commands.text()),
            Part::Unsaid => "unsaid".to_owned(),
        }
    }

    #[test]
    fn a_groups_part_is_in_its_commands_or_in_its_role() {
        for (group, expected) in [
            (
                "    commands: [serve --disaggregation-mode prefill --port 1]\n",
                "prefill by `prefill`",
            ),
            (
                "    commands: [serve --disaggregation-mode=decode]\n",
                "decode by `decode`",
            ),
            (
                "    commands:\n      - |\n        serve --prefill-x 1 \\\n          --disaggregation-mode \\\n          \"prefill\"\n",
                "prefill by `prefill`",
            ),
            (
                "    commands: [serve --disaggregation-mode null]\n",
                "whole by `null`",
            ),
            (
                "    commands: [serve --disaggregation-mode $MODE]\n",
                "unclear by `$MODE`",
            ),
            (
                "    commands: ['if a; then s --disaggregation-mode prefill; else s --disaggregation-mode decode; fi']\n",
                "unclear by `decode`",
            ),
            ("    commands: [serve --disaggregation-model prefill]\n", "unsaid"),
            (
                "    commands: [./start.sh]\n    role: decode\n",
                "decode by `decode`",
            ),
            (
                "    commands: [s --disaggregation-mode $MODE]\n    role: decode\n",
                "decode by `decode`",
            ),
            (
                "    commands: [s --disaggregation-mode prefill]\n    role: decode\n",
                "`decode` against `prefill`",
            ),
            (
                "    commands: [s --disaggregation-mode null]\n    role: decode\n",
                "`decode` against `null`",
            ),
        ] {
            assert_eq!(part(group), expected, "{group}");
        }
    }

    #[test]
    fn the_bootstrap_port_is_leased_written_or_the_engines_own() {
        let port = |command: &str| {
            let service = service(&format!("    commands: ['{command}']\n"));
            BootstrapPort::of(service.members()[0].commands)
        };
        assert_eq!(
            port("s --disaggregation-bootstrap-port $BOOTSTRAP_PORT"),
            BootstrapPort::Leased
        );
        assert_eq!(port("start.sh ${BOOTSTRAP_PORT}"), BootstrapPort::Leased);
        assert_eq!(port("s --port 1"), BootstrapPort::Fixed(8998, None));
        assert!(matches!(
            port("s --disaggregation-bootstrap-port 9001"),
            BootstrapPort::Fixed(9001, Some(_))
        ));
        for bad in ["$BOOT", "0", "70000", "x"] {
            let command = format!("s --disaggregation-bootstrap-port {bad}");
            assert!(matches!(port(&command), BootstrapPort::Unclear(_)), "{bad}");
        }
    }

    #[test]
    fn the_variable_port_is_found_in_commands() {
        for (command, expected) in [
            ("serve --port $PORT", true),
            ("serve --port ${PORT}", true),
            ("serve --port ${PORT:-80}", true),
            ("serve --port $PORTS", false),
            ("serve --port 8000", false),
        ] {
            let service = service(&format!("    commands: ['{command}']\n"));
            assert_eq!(
                uses_variable(service.members()[0].commands, "PORT"),
                expected,
                "{command}"
            );
        }
    }
}
