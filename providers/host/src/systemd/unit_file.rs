//! The unit file of a service, and what somebody else made of it.
//!
//! Nothing of the configuration but paths that gabion chose itself is in it: arguments and environment are in the unit's
//! own directory, where the shim reads them, and systemd's rules for quotes, `%` and `$` never see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::spec::{Scope, ServiceSpec, identifier};
use crate::unit::{Fence, LaunchRecord};

/// How often a program that ends at once is started again within [`LIMIT_SECONDS`], before systemd gives up.
const LIMIT_BURST: u32 = 200;
const LIMIT_SECONDS: u32 = 600;

/// What the shim is given in place of an operation: systemd starts the unit under the newest that touched it.
pub(super) const ARGUMENTS: [&str; 4] = ["--operation", "systemd", "--epoch", "0"];

/// What a unit file is made of.
pub(super) struct Draft<'a> {
    /// The unit's directory.
    pub(super) directory: &'a Path,
    /// Its record.
    pub(super) launch: &'a LaunchRecord,
    /// Its service.
    pub(super) spec: &'a ServiceSpec,
    /// The command that becomes the program.
    pub(super) shim: &'a [String],
    /// Who the shim runs as, if it is not the manager's own user.
    pub(super) runs_as: Option<u32>,
    /// Who writes it.
    pub(super) fence: &'a Fence,
}

/// Returns the text of a unit file.
pub(super) fn render(draft: &Draft<'_>) -> String {
    let Draft { launch, spec, .. } = draft;
    let directory = draft.directory.to_string_lossy();
    let mut command: Vec<&str> = draft.shim.iter().map(String::as_str).collect();
    command.push(&directory);
    command.extend(ARGUMENTS);
    let user = draft
        .runs_as
        .map(|uid| format!("User={uid}\n"))
        .unwrap_or_default();
    // A supervisor asks its program itself: asked twice, some programs end at once and lose their work.
    let kill_mode = match launch.supervision {
        Some(_) => "mixed",
        None => "control-group",
    };
    // An agent says which process has succeeded it.
    let notify = match launch.is_agent() {
        true => "NotifyAccess=main\n",
        false => "",
    };
    let target = match spec.scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    };
    // What is meant to end is not started again because the machine is.
    let install = match launch.completes() {
        true => String::new(),
        false => format!("[Install]\nWantedBy={target}\n\n"),
    };
    format!(
        "# Written by gabion, which puts back what is changed here.\n\
         [Unit]\n\
         Description=gabion {address}\n\
         StartLimitIntervalSec={LIMIT_SECONDS}\n\
         StartLimitBurst={LIMIT_BURST}\n\
         \n\
         [Service]\n\
         Type=exec\n\
         {notify}\
         ExecStart={command}\n\
         WorkingDirectory=/\n\
         {user}\
         Restart={restart}\n\
         RestartSec=1\n\
         KillMode={kill_mode}\n\
         TimeoutStartSec=60\n\
         TimeoutStopSec={stop}ms\n\
         StandardInput=null\n\
         StandardOutput=journal\n\
         StandardError=journal\n\
         SyslogIdentifier={identifier}\n\
         \n\
         {install}\
         [X-Gabion]\n\
         Lineage={lineage}\n\
         Uid={uid}\n\
         Address={address}\n\
         Operation={operation}\n\
         Epoch={epoch}\n",
        address = plain(&launch.address),
        command = command_line(&command),
        restart = spec.restart.name(),
        stop = launch.stop_milliseconds,
        identifier = plain(&identifier(&launch.uid)),
        lineage = plain(&launch.project),
        uid = plain(&launch.uid),
        operation = plain(&draft.fence.operation),
        epoch = draft.fence.epoch,
    )
}

/// Returns the uid that a unit file says it is of.
pub(super) fn owner(text: &str) -> Option<&str> {
    let (_, ours) = text.split_once("\n[X-Gabion]\n")?;
    ours.lines().find_map(|line| line.strip_prefix("Uid="))
}

/// Returns what a line of a unit file holds for a value that people read.
fn plain(text: &str) -> String {
    let clean = text.replace(|character: char| character.is_control(), " ");
    clean.replace('%', "%%").trim_end_matches('\\').to_owned()
}

/// Returns a command line that systemd takes word for word.
fn command_line(words: &[&str]) -> String {
    let program = words.first().copied().unwrap_or_default();
    // systemd takes no program whose path has one of these.
    let odd = |character: char| character.is_control() || matches!(character, '"' | '\'' | '\\');
    let begin: &[&str] = if program.contains(odd) {
        &["/bin/sh", "-c", "exec \"$0\" \"$@\""]
    } else {
        &[]
    };
    let quoted: Vec<String> = begin.iter().chain(words).map(|word| quoted(word)).collect();
    // With the colon a `$` is a `$`.
    format!(":{}", quoted.join(" "))
}

fn quoted(word: &str) -> String {
    let mut text = String::from('"');
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' => text.push_str("%%"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            control if control.is_ascii_control() => {
                text.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// Says which settings of a unit file are other than they were written, in words; `None` when it is the same text.
pub(super) fn difference(written: &str, found: &str) -> Option<String> {
    if written == found {
        return None;
    }
    let (before, now) = (settings(written), settings(found));
    let names: BTreeSet<&str> = before
        .keys()
        .chain(now.keys())
        .filter(|key| before.get(*key) != now.get(*key))
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        return Some("only its comments and its order differ".to_owned());
    }
    Some(names.into_iter().collect::<Vec<_>>().join(", "))
}

/// Returns the names of the settings that a drop-in has.
pub(super) fn setting_names(text: &str) -> String {
    let names: BTreeSet<&str> = settings(text).into_keys().map(|(_, name)| name).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Reads the settings of a unit file, each with all its values.
fn settings(text: &str) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut section = "";
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) || line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            found
                .entry((section, name.trim()))
                .or_default()
                .push(value.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_holds_every_word_as_it_is() {
        assert_eq!(
            command_line(&["/usr/bin/x", "a b", "$HOME ${X} 100%", "-q"]),
            ":\"/usr/bin/x\" \"a b\" \"$HOME ${X} 100%%\" \"-q\""
        );
        assert_eq!(quoted("\"\\\n\u{1}ü"), "\"\\\"\\\\\\n\\x01ü\"");
        assert!(command_line(&["/it's", "b"]).starts_with(":\"/bin/sh\" \"-c\" \"exec"));
    }

    #[test]
    fn what_people_read_cannot_begin_a_setting() {
        assert_eq!(plain("a\nExecStart=/bin/x %n\\"), "a ExecStart=/bin/x %%n");
    }

    #[test]
    fn a_changed_setting_is_named() {
        let written = "[Service]\nExecStart=a\nRestart=no\n[Install]\nWantedBy=x\n";
        let same = "# hello\n[Service]\nRestart=no\nExecStart=a\n\n[Install]\nWantedBy=x\n";
        let cases = [
            (written, None),
            (same, Some("only its comments and its order differ")),
            (
                "[Service]\nExecStart=b\nRestart=no\nEnvironment=A=b\n[Install]\nWantedBy=x\n",
                Some("Environment, ExecStart"),
            ),
            ("", Some("ExecStart, Restart, WantedBy")),
        ];
        for (found, expected) in cases {
            assert_eq!(difference(written, found).as_deref(), expected, "{found}");
        }
        assert_eq!(
            setting_names("[Service]\nUser=x\nEnvironment=\nEnvironment=A=b\n"),
            "Environment, User"
        );
    }

    #[test]
    fn the_owner_of_a_unit_file_is_read_from_our_own_section() {
        assert_eq!(
            owner("[Unit]\nUid=no\n\n[X-Gabion]\nLineage=a\nUid=u-1\n"),
            Some("u-1")
        );
        assert_eq!(owner("[Unit]\nUid=no\n"), None);
    }
}
