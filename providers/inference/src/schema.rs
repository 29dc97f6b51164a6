//! JSON Schemas of dstack's documents, for editors and for the configuration reference.
//!
//! They are made of the types that read the documents; `tests/schema.rs` checks that every key, word, example and default
//! in them is read as it says.

use serde_json::{Value, json};

use crate::document::dev_environment::DevEnvironment;
use crate::document::fleet::Fleet;
use crate::document::gateway::Gateway;
use crate::document::preset::Preset;
use crate::document::service::Service;
use crate::document::task::Task;
use crate::document::volume::Volume;
use crate::term::{MapTerm, map_schema};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Returns the schema of a document type of this crate.
pub(crate) fn json_schema(document_type: &str) -> Option<Value> {
    let commands_or_image = json!([
        {"required": ["commands"]},
        {"required": ["image"]},
        {"required": ["groups"]},
    ]);
    match document_type {
        "dev-environment" => Some(of::<DevEnvironment>(
            document_type,
            json!({"type": "dev-environment", "name": "desk", "ide": "vscode", "resources": {"gpu": "24GB:1"}}),
            None,
        )),
        "fleet" => Some(of::<Fleet>(
            document_type,
            json!({"type": "fleet", "name": "workers", "nodes": "0..4", "resources": {"gpu": "H100:8"}}),
            Some(json!([{"required": ["nodes"]}, {"required": ["ssh_config"]}])),
        )),
        "gateway" => Some(of::<Gateway>(
            document_type,
            json!({"type": "gateway", "name": "front", "backend": "local", "router": {"type": "sglang", "policy": "cache_aware"}}),
            None,
        )),
        "preset" => Some(of::<Preset>(
            document_type,
            json!({"type": "preset", "name": "fast-qwen", "base": "Qwen/Qwen3-8B", "trials": 3}),
            Some(json!([{"required": ["base"]}, {"required": ["repo"]}, {"required": ["model"]}])),
        )),
        "service" => {
            let mut forms = commands_or_image;
            if let Some(forms) = forms.as_array_mut() {
                forms.push(json!({"required": ["replicas"], "properties": {"replicas": {"type": "array"}}}));
            }
            Some(of::<Service>(
                document_type,
                json!({
                    "type": "service",
                    "name": "chat",
                    "commands": ["python3 -m sglang.launch_server --model-path $MODEL_ID --port $PORT"],
                    "env": ["MODEL_ID=qwen/qwen2.5-0.5b-instruct"],
                    "port": 8000,
                    "model": "qwen/qwen2.5-0.5b-instruct",
                    "replicas": 2,
                    "auth": false,
                    "probes": [{"type": "http", "url": "/health"}],
                }),
                Some(forms),
            ))
        }
        "task" => Some(of::<Task>(
            document_type,
            json!({"type": "task", "name": "train", "commands": ["python3 train.py"], "resources": {"gpu": "A100:1"}}),
            Some(commands_or_image),
        )),
        "volume" => Some(of::<Volume>(
            document_type,
            json!({"type": "volume", "name": "models", "backend": "aws", "region": "eu-west-1", "size": "100GB"}),
            None,
        )),
        _ => None,
    }
}

fn of<T: MapTerm>(document_type: &str, example: Value, forms: Option<Value>) -> Value {
    let mut schema = map_schema::<T>();
    schema["$schema"] = DRAFT.into();
    schema["title"] = document_type.into();
    schema["description"] = crate::family::summary(document_type).into();
    schema["examples"] = json!([example]);
    schema["properties"]["type"] = json!({"const": document_type});
    // The file's name stands in for a missing one.
    let required: Vec<Value> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|key| *key != "name")
        .cloned()
        .collect();
    schema["required"] = std::iter::once(json!("type")).chain(required).collect();
    schema["properties"]["name"]["examples"] = json!(["qwen"]);
    if let Some(forms) = forms {
        schema["anyOf"] = forms;
    }
    schema
}
