//! `type: service`.

use std::time::Duration;

use gabion_engine::config::{FromNode, Keyword, MapReader, Node, NodeKind, Spanned, SpannedTemplate, Switch};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::probe::Probe;
use super::router::RouterSpec;
use crate::grammar::env::Env;
use crate::grammar::gpu::GpuSpec;
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;

/// A service document.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: Spanned<String>,
    /// Shell commands, joined with `&&`.
    pub commands: Vec<Spanned<String>>,
    /// The container image.
    pub image: Option<Spanned<String>>,
    /// Environment variables.
    pub env: Env,
    /// The port that the program listens on.
    pub port: Spanned<u16>,
    /// The model that the gateway serves it under.
    pub model: Option<Model>,
    /// The gateway that it is reached through.
    pub gateway: GatewayChoice,
    /// Whether requests need a bearer token.
    pub auth: Spanned<bool>,
    /// Whether the path prefix of a gateway without a domain is cut off.
    pub strip_prefix: bool,
    /// Path prefixes that pass the gateway beside the inference ones. An extension of gabion's.
    pub paths: Vec<Spanned<String>>,
    /// How many replicas.
    pub replicas: Spanned<Range<u32>>,
    /// When a replica counts as ready; `None` when the document does not say.
    pub probes: Option<Vec<Probe>>,
    /// What each replica needs.
    pub resources: Resources,
    /// The service's own router, which wins over its gateway's.
    pub router: Option<RouterSpec>,
    /// The backends that it may run on; empty when the project decides.
    pub backends: Vec<Spanned<String>>,
    /// The absolute working directory.
    pub working_dir: Option<Spanned<String>>,
    /// The shell that runs the commands.
    pub shell: Option<Spanned<String>>,
    /// How long a replica may take to stop.
    pub stop_duration: Duration,
}

/// What a service calls its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name in requests.
    pub name: Spanned<String>,
    /// Where the engine has its OpenAI API: a path, without a slash at its end unless it is the root.
    pub prefix: String,
}

/// Which gateway a service is reached through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChoice {
    /// The default one, else the only one, else this machine's loopback.
    Any,
    /// The default one; it must exist.
    Default(Span),
    /// None: this machine's loopback.
    None,
    /// This one.
    Named(Spanned<String>),
}

/// What each replica of a service needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Processor cores.
    pub cpu: Range<u32>,
    /// The processors' architecture; any when not given.
    pub architecture: Option<Architecture>,
    /// Memory.
    pub memory: Range<Memory>,
    /// Shared memory.
    pub shm_size: Option<Memory>,
    /// Accelerators.
    pub gpu: Option<Spanned<GpuSpec>>,
    /// Disk.
    pub disk: Option<Range<Memory>>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: Range::at_least(2),
            architecture: None,
            memory: Range::at_least(Memory::gigabytes(8)),
            shm_size: None,
            gpu: None,
            disk: None,
        }
    }
}

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    X86,
    /// 64-bit ARM.
    Arm,
}

impl Keyword for Architecture {
    const WHAT: &'static str = "a processor architecture";
    const WORDS: &'static [(&'static str, Self)] = &[("x86", Self::X86), ("arm", Self::Arm)];
}

/// Keys of dstack's services whose meaning comes with the configuration issue's types.
const NOT_YET: [&str; 34] = [
    "python",
    "nvcc",
    "docker",
    "entrypoint",
    "user",
    "privileged",
    "registry_auth",
    "volumes",
    "repos",
    "files",
    "priority",
    "single_branch",
    "dstack",
    "https",
    "scaling",
    "groups",
    "rate_limits",
    "regions",
    "availability_zones",
    "instance_types",
    "reservation",
    "spot_policy",
    "retry",
    "max_duration",
    "max_price",
    "creation_policy",
    "idle_duration",
    "utilization_policy",
    "startup_order",
    "stop_criteria",
    "schedule",
    "fleets",
    "instances",
    "tags",
];

impl FromNode for Service {
    fn expected() -> String {
        "a service document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "service", problems)?;
        map.known(&["type"]);
        let name = map.required("name");
        let commands = map.or("commands", Vec::<SpannedTemplate>::new());
        let image = map.optional("image");
        let env = map.or("env", Env::default());
        let port = map.required::<ServicePort>("port");
        let model = map.optional("model");
        let gateway = map.or("gateway", GatewayChoice::Any);
        let auth = map.or("auth", Spanned::new(true, node.span.clone()));
        let strip_prefix = map.or("strip_prefix", true);
        let paths = map.or("paths", Vec::new());
        let replicas = map.or("replicas", Spanned::new(Range::exactly(1), node.span.clone()));
        let probes = map.optional("probes");
        let resources = map.or("resources", Resources::default());
        let router = map.optional("router");
        let backends = map.or("backends", Vec::new());
        let working_dir = map.optional::<Spanned<String>>("working_dir");
        let shell = map.optional("shell");
        let stop_duration = map.or("stop_duration", Switch::Default);
        for key in NOT_YET {
            map.refuse(
                key,
                format!("This build does not know what to do about `{key}` yet."),
                "remove it, or wait for the release that has it",
            );
        }
        let is_empty = matches!(commands.as_deref(), Some([])) && matches!(image, Some(None));
        if is_empty {
            let problem = node
                .error("missing-key", "missing key")
                .detail("A service needs `commands` or an `image`.")
                .hint("add `commands: [\"…\"]`");
            map.problems().push(problem);
        }
        require_path(map.problems(), &working_dir, "working directory");
        map.finish();
        Some(Self {
            name: name?,
            commands: commands?.into_iter().map(source).collect(),
            image: image?,
            env: env?,
            port: port?.0,
            model: model?,
            gateway: gateway?,
            auth: auth?,
            strip_prefix: strip_prefix?,
            paths: paths?,
            replicas: replicas?,
            probes: probes?,
            resources: resources?,
            router: router?,
            backends: backends?,
            working_dir: working_dir?,
            shell: shell?,
            stop_duration: match stop_duration? {
                Switch::Default => Duration::from_secs(300),
                Switch::Off => Duration::from_secs(24 * 3600),
                Switch::Value(duration) => duration,
            },
        })
    }
}

/// Returns a template as it is written, with its place; lowering decides what becomes of its expressions.
fn source(template: SpannedTemplate) -> Spanned<String> {
    Spanned::new(template.template.text().to_owned(), template.span)
}

/// `8000`, `"80:8000"` (the left one means nothing for a service) or `{container_port: 8000}`.
struct ServicePort(Spanned<u16>);

impl FromNode for ServicePort {
    fn expected() -> String {
        "a port from 1 to 65535".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let port = if node.as_map().is_some() {
            let mut map = MapReader::open(node, "port", problems)?;
            map.known(&["local_port"]);
            let port = map.required::<Spanned<u16>>("container_port");
            map.finish();
            port?
        } else {
            let text = node
                .text()
                .map(|text| text.rsplit(':').next().unwrap_or(text).trim().to_owned());
            match text.and_then(|text| text.parse::<u16>().ok()) {
                Some(port) => Spanned::new(port, node.span.clone()),
                None => {
                    problems.push(node.wrong_type(&Self::expected()));
                    return None;
                }
            }
        };
        if port.value == 0 {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        }
        Some(Self(port))
    }
}

impl FromNode for Model {
    fn expected() -> String {
        "a model's name, or a map of `name`, `format` and `prefix`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            let name = Spanned::<String>::from_node(node, problems)?;
            return Some(Self {
                name,
                prefix: "/v1".to_owned(),
            });
        }
        let mut map = MapReader::open(node, "model", problems)?;
        let chat = map.or("type", ModelType::Chat);
        let name = map.required("name");
        let format = map.required::<ModelFormat>("format");
        let prefix = map.optional::<Spanned<String>>("prefix");
        require_path(map.problems(), &prefix, "model's prefix");
        map.finish();
        chat?;
        format?;
        let prefix = prefix?.map_or_else(|| "/v1".to_owned(), |prefix| prefix.value);
        Some(Self {
            name: name?,
            // The root is a path too.
            prefix: match prefix.trim_end_matches('/') {
                "" => "/".to_owned(),
                prefix => prefix.to_owned(),
            },
        })
    }
}

/// Reports a path that does not begin at the root.
fn require_path(problems: &mut Diagnostics, given: &Option<Option<Spanned<String>>>, what: &str) {
    if let Some(Some(path)) = given
        && !path.value.starts_with('/')
    {
        problems.push(
            Diagnostic::error("bad-path", "bad path")
                .detail(format!("The {what} `{}` is not absolute.", path.value))
                .at(path.span.clone())
                .hint("start it with `/`"),
        );
    }
}

#[derive(Clone, Copy)]
enum ModelType {
    Chat,
}

impl Keyword for ModelType {
    const WHAT: &'static str = "a type of model";
    const WORDS: &'static [(&'static str, Self)] = &[("chat", Self::Chat)];
}

#[derive(Clone, Copy)]
enum ModelFormat {
    OpenAi,
}

impl Keyword for ModelFormat {
    const WHAT: &'static str = "a format that the gateway speaks";
    const WORDS: &'static [(&'static str, Self)] = &[("openai", Self::OpenAi)];
}

impl FromNode for GatewayChoice {
    fn expected() -> String {
        "a gateway's name, `true` or `false`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if matches!(node.kind, NodeKind::Int(1)) {
            return Some(Self::Default(node.span.clone()));
        }
        match node.as_bool() {
            Some(true) => Some(Self::Default(node.span.clone())),
            Some(false) => Some(Self::None),
            None => Spanned::from_node(node, problems).map(Self::Named),
        }
    }
}

impl FromNode for Resources {
    fn expected() -> String {
        "a map of `cpu`, `memory`, `gpu`, `disk` and `shm_size`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "resource need", problems)?;
        let default = Self::default();
        let cpu = map.or(
            "cpu",
            Cpu {
                architecture: None,
                count: default.cpu,
            },
        );
        let memory = map.or("memory", default.memory);
        let shm_size = map.optional::<Range<Memory>>("shm_size");
        let gpu = map.optional("gpu");
        let disk = map.optional::<Disk>("disk");
        map.finish();
        let cpu = cpu?;
        Some(Self {
            cpu: cpu.count,
            architecture: cpu.architecture,
            memory: memory?,
            shm_size: shm_size?.and_then(|range| range.min.or(range.max)),
            gpu: gpu?,
            disk: disk?.map(|disk| disk.0),
        })
    }
}

/// `8`, `8..`, `arm:8..`, `x86`, or `{arch, count}`.
struct Cpu {
    architecture: Option<Architecture>,
    count: Range<u32>,
}

impl FromNode for Cpu {
    fn expected() -> String {
        "a number of cores such as `8..` or `arm:8..`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.get("arch").is_some() || node.get("count").is_some() {
            let mut map = MapReader::open(node, "cpu need", problems)?;
            let architecture = map.optional("arch");
            let count = map.or("count", Range::at_least(2));
            map.finish();
            return Some(Self {
                architecture: architecture?,
                count: count?,
            });
        }
        let words: Vec<&str> = node
            .text()
            .map(|text| text.split(':').collect())
            .unwrap_or_default();
        let architecture = |word: &str| {
            Architecture::WORDS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(word.trim()))
                .map(|(_, architecture)| *architecture)
        };
        match words.as_slice() {
            [word] if architecture(word).is_some() => Some(Self {
                architecture: architecture(word),
                count: Range::at_least(2),
            }),
            [word, count] => match (architecture(word), Range::parse(count)) {
                (Some(found), Ok(count)) => Some(Self {
                    architecture: Some(found),
                    count,
                }),
                _ => {
                    problems.push(node.wrong_type(&Self::expected()));
                    None
                }
            },
            _ => Range::from_node(node, problems).map(|count| Self {
                architecture: None,
                count,
            }),
        }
    }
}

/// A range of sizes, or `{size: range}`.
struct Disk(Range<Memory>);

impl FromNode for Disk {
    fn expected() -> String {
        "a size such as `100GB..`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.get("size").is_none() {
            return Range::from_node(node, problems).map(Self);
        }
        let mut map = MapReader::open(node, "disk need", problems)?;
        let size = map.required("size");
        map.finish();
        size.map(Self)
    }
}
