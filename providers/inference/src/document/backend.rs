//! Backends: where machines come from.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::{Diagnostics, did_you_mean};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, excerpt};

/// A backend that documents may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    name: &'static str,
    title: &'static str,
}

/// The machine that runs gabion; the rest is what dstack knows.
const LOCAL: Backend = Backend {
    name: "local",
    title: "local",
};

/// Machines that are there already and are reached over SSH.
const SSH: Backend = Backend {
    name: "ssh",
    title: "SSH",
};

const KNOWN: [Backend; 26] = [
    LOCAL,
    SSH,
    Backend {
        name: "amddevcloud",
        title: "AMD Developer Cloud",
    },
    Backend {
        name: "aws",
        title: "AWS",
    },
    Backend {
        name: "azure",
        title: "Azure",
    },
    Backend {
        name: "cloudrift",
        title: "CloudRift",
    },
    Backend {
        name: "crusoe",
        title: "Crusoe",
    },
    Backend {
        name: "cudo",
        title: "Cudo",
    },
    Backend {
        name: "daytona",
        title: "Daytona",
    },
    Backend {
        name: "digitalocean",
        title: "DigitalOcean",
    },
    Backend {
        name: "dstack",
        title: "dstack Sky",
    },
    Backend {
        name: "gcp",
        title: "GCP",
    },
    Backend {
        name: "hotaisle",
        title: "Hot Aisle",
    },
    Backend {
        name: "jarvislabs",
        title: "JarvisLabs",
    },
    Backend {
        name: "kubernetes",
        title: "Kubernetes",
    },
    Backend {
        name: "lambda",
        title: "Lambda",
    },
    Backend {
        name: "lium",
        title: "Lium",
    },
    Backend {
        name: "nebius",
        title: "Nebius",
    },
    Backend {
        name: "oci",
        title: "OCI",
    },
    Backend {
        name: "runpod",
        title: "RunPod",
    },
    Backend {
        name: "seeweb",
        title: "Seeweb",
    },
    Backend {
        name: "slurm",
        title: "Slurm",
    },
    Backend {
        name: "tensordock",
        title: "TensorDock",
    },
    Backend {
        name: "vastai",
        title: "Vast.ai",
    },
    Backend {
        name: "verda",
        title: "Verda",
    },
    Backend {
        name: "vultr",
        title: "Vultr",
    },
];

/// Older names of backends.
const RENAMED: [(&str, &str); 1] = [("datacrunch", "verda")];

impl Backend {
    /// Finds a backend by its name or an older one.
    pub fn find(name: &str) -> Option<Self> {
        let renamed = RENAMED.iter().find(|(old, _)| *old == name);
        let name = renamed.map_or(name, |(_, new)| new);
        KNOWN.into_iter().find(|known| known.name == name)
    }

    /// Returns the name in documents.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Returns the name in sentences.
    pub fn title(self) -> &'static str {
        self.title
    }

    /// Returns whether its machines are those of the project's fleets with `ssh_config`.
    pub fn is_ssh(self) -> bool {
        self == SSH
    }

    /// Returns whether this is the machine that runs gabion.
    pub fn is_local(self) -> bool {
        self == LOCAL
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromNode for Backend {
    fn expected() -> String {
        "a backend".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let name = String::from_node(node, problems)?;
        let found = Self::find(&name);
        if found.is_none() {
            let near = did_you_mean(&name, KNOWN.iter().map(|known| known.name));
            problems.push(
                node.error("unknown-backend", "unknown backend")
                    .detail(format!("There is no backend `{}`.", excerpt(&name)))
                    .hint(match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "use `local`, the machine that runs gabion".to_owned(),
                    }),
            );
        }
        found
    }
}

impl Term for Backend {
    fn write(&self) -> Yaml {
        self.name.into()
    }

    fn schema() -> Json {
        let names = KNOWN
            .iter()
            .map(|known| known.name)
            .chain(RENAMED.iter().map(|(old, _)| *old));
        json!({"enum": names.collect::<Vec<_>>()})
    }
}
