//! Ports: `8000`, `80:8000` (local and container port), `*:8000` (any local port), or a map.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, map_schema, map_type, read_line, read_map};

/// A port as a pattern of JSON Schemas.
const NUMBER: &str =
    "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// A port number, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(pub u16);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Line for Port {
    const WHAT: &'static str = "a port from 1 to 65535";
    const CODE: &'static str = "bad-port";
    const SUMMARY: &'static str = "bad port";
    const HINT: &'static str = "write a number from 1 to 65535";

    fn parse(text: &str) -> Result<Self, String> {
        let number = text
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u16>().ok());
        match number.flatten() {
            Some(port) if port > 0 => Ok(Self(port)),
            _ => Err(format!("`{}` is no port from 1 to 65535.", excerpt(text))),
        }
    }
}

impl FromNode for Port {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for Port {
    fn write(&self) -> Yaml {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": format!("^{NUMBER}$"), "examples": [8000]})
    }
}

/// A port of a container and the one of the user's machine that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The port of the user's machine; `None` for any.
    pub local: Option<Port>,
    /// The port in the container.
    pub container: Port,
}

map_type! {
    /// The map form of a port mapping.
    pub struct PortMap: "port mapping" {
        /// The port of the user's machine; any if not given.
        local_port: Option<Port> = None,
        /// The port in the container.
        container_port: Port,
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local {
            Some(local) if local == self.container => write!(f, "{local}"),
            Some(local) => write!(f, "{local}:{}", self.container),
            None => write!(f, "*:{}", self.container),
        }
    }
}

impl Line for PortMapping {
    const WHAT: &'static str = "a port such as `8000`, `80:8000` or `*:8000`";
    const CODE: &'static str = "bad-port";
    const SUMMARY: &'static str = "bad port";
    const HINT: &'static str = "write `8000`, `80:8000` (local, container) or `*:8000` (any local port)";

    fn parse(text: &str) -> Result<Self, String> {
        let (local, container) = match text.split_once(':') {
            None => {
                let port = Port::parse(text)?;
                (Some(port), port)
            }
            Some(("*", container)) => (None, Port::parse(container)?),
            Some((local, container)) => (Some(Port::parse(local)?), Port::parse(container)?),
        };
        Ok(Self { local, container })
    }
}

impl FromNode for PortMapping {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            let map: PortMap = read_map(node, problems)?;
            return Some(Self {
                local: map.local_port,
                container: map.container_port,
            });
        }
        read_line(node, problems)
    }
}

impl Term for PortMapping {
    fn write(&self) -> Yaml {
        // Always text: `80:22` without quotes is a number in YAML 1.1.
        match self.local {
            Some(local) if local == self.container => self.container.write(),
            _ => self.to_string().into(),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": format!("^(({NUMBER}|\\*):)?{NUMBER}$")},
                map_schema::<PortMap>(),
            ],
            "title": "port",
            "examples": [8000, "80:8000", "*:8000", {"local_port": 80, "container_port": 8000}],
        })
    }
}

/// The port that a service's program listens on: like a mapping, whose local port means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePort(pub Port);

impl FromNode for ServicePort {
    fn expected() -> String {
        Port::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mapping = PortMapping::from_node(node, problems)?;
        if mapping.local.is_none() && node.as_map().is_none() {
            problems.push(
                node.error("bad-port", "bad port")
                    .detail("A service has no local port, so `*:` means nothing here.")
                    .hint(format!("write `{}`", mapping.container)),
            );
            return None;
        }
        Some(Self(mapping.container))
    }
}

impl Term for ServicePort {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        let mut schema = PortMapping::schema();
        schema["anyOf"][1]["pattern"] = format!("^({NUMBER}:)?{NUMBER}$").into();
        schema["examples"] = json!([8000, "80:8000", {"container_port": 8000}]);
        schema
    }
}
