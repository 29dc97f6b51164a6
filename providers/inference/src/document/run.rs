//! What services, tasks and development environments share: where and as whom their commands run.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::resources::Resources;
use super::rules::{exclude, is_set, require_path, without_effect};
use crate::grammar::env::Env;
use crate::grammar::file::FileMapping;
use crate::grammar::mount::Mount;
use crate::grammar::python::PythonVersion;
use crate::grammar::repo::Repo;
use crate::grammar::shell::Shell;
use crate::grammar::user::User;
use crate::term::{Term, Text, map_type, plain_map};

map_type! {
    /// How to pull a private image.
    pub struct RegistryAuth: "login of a registry" {
        /// The user's name.
        username: Text,
        /// The password; write an expression, not the password itself.
        password: Text,
    }
}

plain_map!(RegistryAuth, "a map of `username` and `password`");

/// A priority from 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u32);

impl FromNode for Priority {
    fn expected() -> String {
        "a priority from 0 to 100".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = u32::from_node(node, problems)?;
        if number <= 100 {
            return Some(Self(number));
        }
        problems.push(node.wrong_type(&Self::expected()));
        None
    }
}

impl Term for Priority {
    fn write(&self) -> Yaml {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["integer", "string"], "minimum": 0, "maximum": 100, "pattern": "^[0-9]+$"})
    }
}

map_type! {
    /// Where and as whom commands run.
    pub struct RunFields: "run" {
        /// The container image; gabion's default image if none is given.
        image: Option<Spanned<Text>> = None,
        /// The version of Python in the default image.
        python: Option<PythonVersion> = None,
        /// Whether the default image has the CUDA compiler.
        nvcc: bool = false,
        /// Whether commands can use Docker.
        docker: bool = false,
        /// The program of the image; the image's own if not given.
        entrypoint: Option<Spanned<Text>> = None,
        /// The user in the container; the image's own if not given.
        user: Option<User> = None,
        /// Whether the container may do what the machine may.
        privileged: bool = false,
        /// The shell that runs the commands; `sh` with an image, else `bash`.
        shell: Option<Spanned<Shell>> = None,
        /// The absolute working directory; the image's, or the project's directory for processes, if not given.
        working_dir: Option<Spanned<String>> = None,
        /// How to pull a private image.
        registry_auth: Option<RegistryAuth> = None,
        /// Environment variables: `NAME=value`, or `NAME` alone for the value that whoever runs gabion has.
        env: Env = Env::default(),
        /// What is mounted.
        volumes: Vec<Mount> = Vec::new(),
        /// A repository to check out.
        repos: Vec<Repo> = Vec::new(),
        /// Files to copy.
        files: Vec<FileMapping> = Vec::new(),
        /// What each replica or node needs.
        resources: Resources = Resources::default(),
        /// From 0 to 100; the highest goes first.
        priority: Priority = Priority(0),
        /// Whether the dstack server is reachable from inside.
        dstack: bool = false,
    }
    without_effect ["home_dir", "setup"]
    check RunFields::check;
}

impl RunFields {
    fn check(&mut self, map: &mut MapReader<'_>) {
        if !is_set(map, "resources") {
            self.resources = Resources::unsaid(&map.node().span);
        }
        let image = ("image", is_set(map, "image"));
        let python = ("python", is_set(map, "python"));
        let docker = ("docker", self.docker);
        exclude(map, image, python);
        exclude(map, image, docker);
        exclude(map, python, docker);
        exclude(map, ("nvcc", self.nvcc), docker);
        if let [_, second, ..] = self.repos.as_slice() {
            let place = map.get("repos").and_then(|node| node.as_list()?.get(1));
            let place = place.map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("too-many", "too many repositories")
                    .detail(format!("There can be one repository; `{second}` is another."))
                    .at(place)
                    .hint("keep one"),
            );
        }
        if let Some(directory) = &self.working_dir {
            require_path(directory, "working directory", map.problems());
        }
        without_effect(
            map,
            "home_dir",
            "`home_dir` has meant nothing since dstack 0.18.31.",
        );
        if map.node().get("init").is_none() {
            without_effect(
                map,
                "setup",
                "`setup` has meant nothing for tasks and services since dstack 0.18.31.",
            );
        }
    }
}
