//! JSON Schemas of gateways and services, for editors and for the configuration reference.
//!
//! They say what the decoders in [`document`](crate::document) read; `tests/schema.rs` holds the two together: every key
//! of either is a key of the other, every example decodes, and every default is what its absence means.

use serde_json::{Value, json};

/// Returns the schema of a document type of this crate.
pub(crate) fn json_schema(document_type: &str) -> Option<Value> {
    match document_type {
        "gateway" => Some(gateway()),
        "service" => Some(service()),
        _ => None,
    }
}

fn gateway() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "gateway",
        "type": "object",
        "description": "A place where requests come in, with a router for the services behind it.",
        "examples": [{"type": "gateway", "name": "front", "backend": "local", "router": {"type": "sglang", "policy": "cache_aware"}}],
        "required": ["type", "name", "backend"],
        "additionalProperties": false,
        "properties": {
            "type": {"const": "gateway"},
            "name": name("Its name, unique among the gateways."),
            "backend": {"type": "string", "examples": ["local"], "description": "The backend that it runs on. This build plans `local`, the machine that runs gabion; documents for others can be validated."},
            "region": {"type": "string", "examples": ["eu-west-1"], "description": "The region, for backends that have some."},
            "default": {"type": "boolean", "default": false, "description": "Whether services that name no gateway use this one. Needed only where there are several."},
            "domain": {"type": "string", "examples": ["example.com"], "description": "With a domain, a service is served at `NAME.DOMAIN` and the models at `gateway.DOMAIN/v1`. Without one, services are at `/services/NAME/` and the models at `/v1`."},
            "router": router("The router that every service behind this gateway gets, one each. Without one the gateway goes from replica to replica in turn."),
            "instance_type": {"type": "string", "examples": ["t3.small"], "description": machine_only("The type of machine.")},
            "public_ip": {"type": "boolean", "examples": [true], "description": machine_only("Whether it has a public address.")},
            "load_balancer": {"type": "string", "examples": ["alb"], "description": machine_only("The load balancer in front of it.")},
            "certificate": {"anyOf": [{"type": "string"}, {"type": "object"}], "examples": [{"type": "lets-encrypt"}], "description": machine_only("Where its certificate comes from.")},
            "replicas": {"type": "integer", "minimum": 1, "examples": [2], "description": machine_only("How many machines serve it.")},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}, "examples": [{"team": "search"}], "description": machine_only("Tags of its machines.")},
        },
    })
}

fn service() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "service",
        "type": "object",
        "description": "A model or web service: replicas of a program, reached through a gateway.",
        "examples": [{
            "type": "service",
            "name": "chat",
            "commands": ["python3 -m sglang.launch_server --model-path $MODEL_ID --port $PORT"],
            "env": ["MODEL_ID=qwen/qwen2.5-0.5b-instruct"],
            "port": 8000,
            "model": "qwen/qwen2.5-0.5b-instruct",
            "replicas": 2,
            "auth": false,
            "probes": [{"type": "http", "url": "/health"}],
        }],
        "required": ["type", "name", "port"],
        "anyOf": [{"required": ["commands"]}, {"required": ["image"]}],
        "additionalProperties": false,
        "properties": {
            "type": {"const": "service"},
            "name": name("Its name, unique among the services."),
            "commands": {
                "type": "array",
                "items": {"type": "string"},
                "examples": [["python3 -m http.server $PORT"]],
                "description": "Shell commands, run one after the other until one fails. `$PORT` is the port that gabion leased for the replica. Secrets do not belong here: every user of a machine can read the arguments of its programs.",
            },
            "image": {"type": "string", "examples": ["lmsysorg/sglang:latest"], "description": "A container image. Needs a backend that runs containers; `local` runs `commands`. One of `commands` and `image` must be there."},
            "env": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
                ],
                "default": [],
                "examples": [["MODEL_ID=qwen", "HF_TOKEN", "EMPTY="], {"MODEL_ID": "qwen", "WORKERS": 2}],
                "description": "Environment variables: a list of `NAME=value` and `NAME`, or a map. A `NAME` alone is taken from the environment of whoever runs gabion, and is secret. Values may hold `${{ … }}`.",
            },
            "port": {
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65535},
                    {"type": "string", "pattern": "^([0-9]+:)?[0-9]+$"},
                    {
                        "type": "object",
                        "required": ["container_port"],
                        "additionalProperties": false,
                        "properties": {
                            "container_port": {"type": "integer", "minimum": 1, "maximum": 65535, "examples": [8000], "description": "The port that the program listens on."},
                            "local_port": {"type": "integer", "examples": [80], "description": "Means nothing for a service; read because dstack's files may hold it."},
                        },
                    },
                ],
                "title": "port number",
                "examples": [8000, "80:8000", {"container_port": 8000}],
                "description": "The port that the program listens on. Where several replicas share a machine, as on `local`, each gets a port of its own in `$PORT` and this one is not used; commands that never use `$PORT` listen on this one.",
            },
            "model": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["name", "format"],
                        "additionalProperties": false,
                        "properties": {
                            "name": {"type": "string", "examples": ["qwen"], "description": "The model's name in requests."},
                            "type": {"enum": ["chat"], "default": "chat", "description": "What kind of model it is."},
                            "format": {"enum": ["openai"], "examples": ["openai"], "description": "The API that the program speaks."},
                            "prefix": {"type": "string", "default": "/v1", "description": "Where the program has that API."},
                        },
                    },
                ],
                "examples": ["qwen/qwen2.5-0.5b-instruct", {"name": "qwen", "format": "openai"}],
                "description": "The name under which the gateway's model endpoint serves it. Two services of one gateway cannot have the same. For a service with a model or a router only the inference paths pass the gateway.",
            },
            "gateway": {
                "anyOf": [{"type": "string"}, {"type": "boolean"}],
                "examples": ["front", true, false],
                "description": "The gateway that it is reached through: a name; `true`, the default one; `false`, none but this machine's own loopback. If not given: the default gateway, else the only one, else the loopback.",
            },
            "auth": {"type": "boolean", "default": true, "description": "Whether a request needs one of the bearer tokens in `gabion.yml`. `false` lets in everybody who reaches the gateway."},
            "strip_prefix": {"type": "boolean", "default": true, "description": "Whether `/services/NAME` is cut off before a request goes on, on gateways without a domain."},
            "paths": {"type": "array", "items": {"type": "string"}, "default": [], "examples": [["/v2/"]], "description": "Path prefixes that pass the gateway beside `/v1/`, `/generate` and `/chat/completions`, for a service with a model or a router."},
            "replicas": {"type": "integer", "minimum": 0, "default": 1, "title": "whole number", "description": "How many replicas. Ranges such as `1..4` come with scaling, which this build does not have."},
            "probes": {
                "type": "array",
                "items": probe(),
                "examples": [[{"type": "http", "url": "/health"}]],
                "description": "What a replica must answer before it takes traffic: a 2xx to each. If not given: a completion of one token from the `model`; without a model, nothing.",
            },
            "resources": resources(),
            "router": router("A router of the service's own, which wins over its gateway's."),
            "backends": {"type": "array", "items": {"type": "string"}, "default": [], "examples": [["local"]], "description": "The backends that it may run on. If empty: those of `gabion.yml`."},
            "working_dir": {"type": "string", "pattern": "^/", "examples": ["/srv/qwen"], "description": "The absolute directory that commands start in. If not given, on `local`: the project's."},
            "shell": {"type": "string", "default": "bash", "description": "The shell that runs `commands`: `sh`, `bash`, or a path."},
            "stop_duration": duration_or_off("5m", "How long a replica that leaves may take to finish its requests, and then to end, before it is killed. `off` means a day."),
        },
    })
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

fn name(description: &str) -> Value {
    let rule = "2 to 41 lower-case letters, digits and `-`, starting with a letter.";
    json!({"type": "string", "pattern": "^[a-z][a-z0-9-]{1,40}$", "examples": ["chat"], "description": format!("{description} {rule}")})
}

fn machine_only(description: &str) -> String {
    format!("{description} Needs a backend with machines of its own, which this build does not have.")
}

fn router(description: &str) -> Value {
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "examples": [{"type": "sglang", "policy": "round_robin"}],
        "description": description,
        "properties": {
            "type": {"enum": ["sglang", "smg"], "examples": ["sglang", "smg"], "description": "The program: the SGLang Model Gateway, by either of its names."},
            "policy": {
                "enum": ["cache_aware", "power_of_two", "random", "round_robin"],
                "default": "cache_aware",
                "description": "How it chooses a worker: the one with the longest cached prefix unless the load is uneven; the lighter of two picked at random; any; each in turn.",
            },
            "package": {"enum": ["smg", "sglang-router"], "default": "smg", "description": "The Python package that it comes from: the current one, or its predecessor."},
        },
    })
}

fn probe() -> Value {
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": {"const": "http", "examples": ["http"], "description": "The kind of probe."},
            "url": {"type": "string", "pattern": "^/", "maxLength": 2048, "default": "/", "description": "Path and query of the request."},
            "method": {"enum": ["get", "post", "put", "delete", "patch", "head"], "default": "get", "description": "The request's method."},
            "headers": {
                "type": "array",
                "maxItems": 16,
                "default": [],
                "examples": [[{"name": "x-probe", "value": "1"}]],
                "items": {
                    "type": "object",
                    "required": ["name", "value"],
                    "additionalProperties": false,
                    "properties": {
                        "name": {"type": "string", "examples": ["x-probe"], "description": "The header's name."},
                        "value": {"type": "string", "examples": ["1"], "description": "The header's value."},
                    },
                },
                "description": "Headers of the request, at most 16.",
            },
            "body": {"type": "string", "description": "The request's body. Not with `get` and `head`."},
            "timeout": duration("10s", "How long an answer may take, from 1s to 5m."),
            "interval": duration("15s", "The pause between two tries, at least 1s."),
            "ready_after": {"type": "integer", "minimum": 1, "default": 1, "description": "How many tries in a row must succeed."},
            "until_ready": {"type": "boolean", "default": false, "description": "dstack's wish to probe only until the replica is ready, which is what gabion always does."},
        },
    })
}

fn resources() -> Value {
    let count = "number or range";
    json!({
        "type": "object",
        "additionalProperties": false,
        "default": {},
        "examples": [{"gpu": "A100:80GB:2", "memory": "64GB.."}],
        "description": "What each replica needs. `local` has no accelerators and does not check the rest.",
        "properties": {
            "cpu": {
                "anyOf": [
                    {"type": ["integer", "string"]},
                    {
                        "type": "object",
                        "anyOf": [{"required": ["count"]}, {"required": ["arch"]}],
                        "additionalProperties": false,
                        "properties": {
                            "arch": {"enum": ["x86", "arm"], "examples": ["arm"], "description": "The processors' architecture; any if not given."},
                            "count": range(count, json!("2.."), "How many cores."),
                        },
                    },
                ],
                "title": "number, range, or `ARCH:RANGE`",
                "default": "2..",
                "examples": [8, "8..", "arm:8..", {"arch": "x86", "count": "8.."}],
                "description": "Processor cores.",
            },
            "memory": range("size or range of sizes", json!("8GB.."), "Memory. A number without a unit is in GB; 1 TB is 1024 GB."),
            "shm_size": range("size", Value::Null, "Shared memory."),
            "gpu": {
                "anyOf": [
                    {"type": ["integer", "string"]},
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "vendor": {"enum": ["nvidia", "amd", "google", "tpu", "intel", "tenstorrent", "tt"], "examples": ["nvidia"], "description": "Who makes them."},
                            "name": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "examples": ["H100", ["H100", "H200"]], "description": "Acceptable models; any if not given."},
                            "count": range(count, json!("1.."), "How many."),
                            "memory": range("size or range of sizes", Value::Null, "The memory of each."),
                            "total_memory": range("size or range of sizes", Value::Null, "The memory of all together."),
                            "compute_capability": {"type": ["string", "number"], "title": "text", "examples": ["8.0"], "description": "The least CUDA compute capability."},
                        },
                    },
                ],
                "title": "number or `VENDOR:NAMES:SIZE:COUNT`",
                "examples": [2, "24GB", "A100:80GB:2", "nvidia:H100,H200:8", {"name": "H100", "count": 8}],
                "description": "Accelerators. The parts of the short form may come in any order, and each may be left out; one or more if no count is given.",
            },
            "disk": {
                "anyOf": [
                    {"type": ["integer", "string"]},
                    {"type": "object", "required": ["size"], "additionalProperties": false, "properties": {"size": range("size or range of sizes", Value::Null, "How much.")}},
                ],
                "title": "size or range of sizes",
                "examples": ["100GB..", {"size": "100GB"}],
                "description": "Disk.",
            },
        },
    })
}

/// A range: `4`, `2..8`, `2..`, `..8`, or a map of `min` and `max`.
fn range(title: &str, default: Value, description: &str) -> Value {
    let mut schema = json!({
        "anyOf": [
            {"type": ["integer", "string"]},
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {"min": {"type": ["integer", "string"]}, "max": {"type": ["integer", "string"]}},
            },
        ],
        "title": title,
        "examples": [4, "2..8", "2..", "..8", {"min": 2, "max": 8}],
        "description": description,
    });
    if !default.is_null() {
        schema["default"] = default;
    }
    schema
}

fn duration(default: &str, description: &str) -> Value {
    json!({
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ *[smhdw]?$"}],
        "title": "duration",
        "default": default,
        "examples": [90, "30s", "2m"],
        "description": description,
    })
}

fn duration_or_off(default: &str, description: &str) -> Value {
    json!({
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^([0-9]+ *[smhdw]?|off)$"},
            {"type": "boolean"},
        ],
        "title": "duration, or `off`",
        "default": default,
        "examples": [90, "30s", "2m", "off"],
        "description": description,
    })
}
