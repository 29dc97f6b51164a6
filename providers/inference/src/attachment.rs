//! What documents say of being attached to: which ports are forwarded, and which editor is used.

use gabion_engine::config::Project;

use crate::document::dev_environment::Ide;
use crate::family::read_project;
use crate::grammar::port::PortMapping;

/// What a task or a development environment says of being attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Ports to forward.
    pub ports: Vec<Forward>,
    /// The editor, as documents write it: `vscode`.
    pub ide: Option<&'static str>,
}

/// A port of a program, and the one of the user's machine that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port of the user's machine; `None` for any.
    pub local: Option<u16>,
    /// The port of the program.
    pub program: u16,
}

impl From<&PortMapping> for Forward {
    fn from(mapping: &PortMapping) -> Self {
        Self {
            local: mapping.local.map(|port| port.0),
            program: mapping.container.0,
        }
    }
}

/// Returns what the document of a type and name says of being attached to; nothing for one that is not there.
pub fn attachment(project: &Project, document_type: &str, name: &str) -> Attachment {
    let read = read_project(project);
    match document_type {
        "task" => {
            let task = read.tasks.iter().find(|task| task.document.name.value == name);
            let groups = task.and_then(|task| task.document.groups.as_ref());
            let of_groups = groups
                .into_iter()
                .flat_map(|groups| &groups.value.0)
                .flat_map(|group| &group.value.ports);
            let own = task.into_iter().flat_map(|task| &task.document.ports);
            Attachment {
                ports: own.chain(of_groups).map(Forward::from).collect(),
                ide: None,
            }
        }
        "dev-environment" => {
            let found = read
                .dev_environments
                .iter()
                .find(|environment| environment.document.name.value == name);
            found.map_or_else(Attachment::default, |found| Attachment {
                ports: found.document.ports.iter().map(Forward::from).collect(),
                ide: found.document.ide.map(Ide::as_str),
            })
        }
        _ => Attachment::default(),
    }
}
