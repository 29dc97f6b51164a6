//! `type: dev-environment`.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

use super::profile::ProfileParams;
use super::rules::{check_image, without_effect};
use super::run::RunFields;
use crate::grammar::duration::Limit;
use crate::grammar::port::PortMapping;
use crate::term::{Text, excerpt, keyword, map_type, read_map};

keyword! {
    /// An editor whose server is installed.
    pub enum Ide: "an IDE" {
        /// Visual Studio Code.
        Vscode = "vscode",
        /// Cursor.
        Cursor = "cursor",
        /// Windsurf.
        Windsurf = "windsurf",
        /// Zed.
        Zed = "zed",
    }
}

map_type! {
    /// A development environment document.
    pub struct DevEnvironment: "development environment" {
        ..run: RunFields,
        ..profile: ProfileParams,
        /// Its name, unique among the development environments.
        name: Spanned<String>,
        /// The editor whose server is installed; none if not given.
        ide: Option<Ide> = None,
        /// The editor's version; `version@commit` for Windsurf.
        version: Option<Spanned<String>> = None,
        /// Shell commands to run at the start.
        init: Vec<Spanned<Text>> = Vec::new(),
        /// How long nobody may be connected before it is stopped.
        inactivity_duration: Spanned<Limit<-1>> => Limit::<-1>::Off,
        /// Ports to reach.
        ports: Vec<PortMapping> = Vec::new(),
        /// Whether only the current branch of a repository is fetched.
        single_branch: bool = false,
    }
    known ["type"]
    check DevEnvironment::check;
}

impl FromNode for DevEnvironment {
    fn expected() -> String {
        "a development environment document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

impl DevEnvironment {
    fn check(&self, map: &mut MapReader<'_>) {
        if let Some(entrypoint) = &self.run.entrypoint {
            map.problems().push(
                Diagnostic::error("unsupported-key", "unsupported key")
                    .detail("A development environment has no `entrypoint`: it is entered by an editor or a shell.")
                    .at(entrypoint.span.clone())
                    .hint("remove it; put commands into `init`"),
            );
        }
        match (&self.ide, &self.version) {
            (None, Some(version)) => map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail("`version` is that of the `ide`, and none is set.")
                    .at(version.span.clone())
                    .hint("add `ide: vscode`, or remove `version`"),
            ),
            (Some(Ide::Windsurf), Some(version)) if !is_windsurf(&version.value) => map.problems().push(
                Diagnostic::error("bad-version", "bad version")
                    .detail(format!(
                        "`{}` is no version of Windsurf, which has its commit after an `@`.",
                        excerpt(&version.value)
                    ))
                    .at(version.span.clone())
                    .hint("write `version@commit`: `1.106.0@8951cd3ad688e789573d7f51750d67ae4a0bea7d`"),
            ),
            _ => {}
        }
        if self.run.dstack && self.inactivity_duration.value != Limit::Off {
            map.problems().push(
                Diagnostic::error("exclusive-keys", "keys that exclude each other")
                    .detail("With `dstack: true` somebody is always connected, so that it is never inactive.")
                    .at(self.inactivity_duration.span.clone())
                    .hint("remove one of the two"),
            );
        }
        if map.key_span("init").is_some() {
            without_effect(map, "setup", "`setup` was replaced by `init` in dstack 0.18.31.");
        }
        check_image(
            &self.run.resources,
            self.run.image.is_some(),
            self.run.docker,
            map.problems(),
        );
    }
}

fn is_windsurf(version: &str) -> bool {
    version.rsplit_once('@').is_some_and(|(version, commit)| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        !version.is_empty() && !commit.is_empty() && commit.bytes().all(hex)
    })
}
