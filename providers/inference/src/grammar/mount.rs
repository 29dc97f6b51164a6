//! Mounts: `volume:/path`, `/host/path:/path`, or a map.

use std::fmt;

use gabion_engine::config::{FromNode, MapReader, Node, OneOrMany, Template};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::path::absolute;
use crate::term::{
    Line, Term, Text, excerpt, map_schema, map_type, plain_map, read_line, read_map, write_map,
};

/// An absolute path, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsolutePath(pub String);

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Line for AbsolutePath {
    const WHAT: &'static str = "an absolute path";
    const CODE: &'static str = "bad-path";
    const SUMMARY: &'static str = "bad path";
    const HINT: &'static str = "start it with `/`, and leave out `..`";

    fn parse(text: &str) -> Result<Self, String> {
        absolute(text).map(Self)
    }
}

impl FromNode for AbsolutePath {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for AbsolutePath {
    fn write(&self) -> Yaml {
        self.0.as_str().into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^/", "examples": ["/data"]})
    }
}

map_type! {
    /// A network volume, mounted into a container.
    pub struct VolumeMount: "mount of a volume" {
        /// The volume; of several, one is mounted.
        name: OneOrMany<Text>,
        /// Where it is mounted in the container.
        path: AbsolutePath,
    }
    check VolumeMount::check;
}

plain_map!(VolumeMount, "a map of `name` and `path`");

impl VolumeMount {
    fn check(&self, map: &mut MapReader<'_>) {
        if self.name.0.iter().any(|name| name.is_empty()) || self.name.0.is_empty() {
            let place = map.get("name").map(|node| node.span.clone());
            map.problems().push(
                gabion_engine::diagnostic::Diagnostic::error("bad-mount", "bad mount")
                    .detail("A mount needs the name of a volume.")
                    .at(place)
                    .hint("name one: `name: my-volume`"),
            );
        }
    }
}

map_type! {
    /// A directory of the machine, mounted into a container.
    pub struct InstanceMount: "mount of a directory" {
        /// The directory on the machine.
        instance_path: AbsolutePath,
        /// Where it is mounted in the container.
        path: AbsolutePath,
        /// Whether to go on without it where machines have no directories to mount.
        optional: bool = false,
    }
}

plain_map!(InstanceMount, "a map of `instance_path` and `path`");

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Mount {
    /// A network volume.
    Volume(VolumeMount),
    /// A directory of the machine.
    Instance(InstanceMount),
}

impl Mount {
    /// Returns where it is mounted in the container.
    pub fn path(&self) -> &str {
        match self {
            Self::Volume(mount) => &mount.path.0,
            Self::Instance(mount) => &mount.path.0,
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(mount) => {
                let names: Vec<&str> = mount.name.0.iter().map(|name| &**name).collect();
                write!(f, "{}:{}", names.join(","), mount.path)
            }
            Self::Instance(mount) => write!(f, "{}:{}", mount.instance_path, mount.path),
        }
    }
}

impl Line for Mount {
    const WHAT: &'static str = "a mount such as `my-volume:/data` or `/host/data:/data`";
    const CODE: &'static str = "bad-mount";
    const SUMMARY: &'static str = "bad mount";
    const HINT: &'static str = "write `volume:/path`, or `/host/path:/path` for a directory of the machine";

    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [source, path] = parts.as_slice() else {
            return Err(format!("`{}` has not exactly one colon.", excerpt(text)));
        };
        let path = AbsolutePath(absolute(path)?);
        if source.is_empty() {
            return Err(format!("`{}` names no volume before its colon.", excerpt(text)));
        }
        Ok(if source.contains('/') {
            Self::Instance(InstanceMount {
                instance_path: AbsolutePath(absolute(source)?),
                path,
                optional: false,
            })
        } else {
            Self::Volume(VolumeMount {
                name: OneOrMany(vec![Text((*source).to_owned())]),
                path,
            })
        })
    }
}

impl FromNode for Mount {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            // Expressions are looked at when the text is known to be a mount.
            let mount = read_template_line(node, problems)?;
            return Some(mount);
        }
        if node.get("instance_path").is_some() {
            read_map(node, problems).map(Self::Instance)
        } else {
            read_map(node, problems).map(Self::Volume)
        }
    }
}

/// Reads a line that may hold expressions.
fn read_template_line<T: Line>(node: &Node, problems: &mut Diagnostics) -> Option<T> {
    let text = Text::from_node(node, problems)?;
    T::parse(&text)
        .map_err(|why| problems.push(node.error(T::CODE, T::SUMMARY).detail(why).hint(T::HINT)))
        .ok()
}

impl Term for Mount {
    fn write(&self) -> Yaml {
        let line = self.to_string();
        // A line is read with its expressions, a map's paths as they are.
        let is_line = Template::parse(&line).is_ok() && Self::parse(&line).as_ref() == Ok(self);
        match self {
            _ if is_line => line.into(),
            Self::Volume(mount) => write_map(mount),
            Self::Instance(mount) => write_map(mount),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "string", "pattern": "^[^:]+:/[^:]*$"},
                map_schema::<VolumeMount>(),
                map_schema::<InstanceMount>(),
            ],
            "title": "mount",
            "examples": ["my-volume:/data", "/host/data:/data", {"name": ["a-volume", "b-volume"], "path": "/data"}],
        })
    }
}
