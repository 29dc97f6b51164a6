//! JSON Schemas of the engine's own documents and of `gabion.yml`, for editors.

use serde_json::{Value, json};

use super::secrets::SecretSource;

/// The schema of one of the engine's own document types.
pub(super) fn json_schema(document_type: &str) -> Option<Value> {
    let (summary, example, required, properties) = match document_type {
        "resource" => (
            "A single resource of any kind that a provider of this build manages.",
            json!({"type": "resource", "kind": "gabion_data", "name": "banner", "properties": {"input": {"text": "welcome", "version": "1.4"}}, "lifecycle": {"prevent_destroy": true}}),
            json!(["type", "kind", "name"]),
            json!({
                "type": {"const": "resource"},
                "kind": text("The kind of resource, such as `gabion_data`."),
                "name": text("Its name; the address is `kind.name`."),
                "properties": {"type": "object", "description": "Its attributes, as its kind declares them. Texts may hold `${{ … }}`."},
                "depends_on": {"type": "array", "items": text("An address, `kind.name`."), "description": "Resources that are applied before it, beyond those that it refers to."},
                "timeouts": {
                    "type": "object",
                    "description": "How long each action may take.",
                    "additionalProperties": false,
                    "properties": {"create": duration(), "update": duration(), "delete": duration()},
                },
                "lifecycle": {
                    "type": "object",
                    "description": "How it may be changed.",
                    "additionalProperties": false,
                    "properties": {
                        "prevent_destroy": {"type": "boolean", "default": false, "description": "Refuse plans that would delete the object."},
                        "create_before_destroy": {"type": "boolean", "description": "Whether a replacement is made before the old object goes; by default as its kind says."},
                        "ignore_changes": {"type": "array", "items": text("The path of an attribute."), "description": "Attributes whose differences are not acted on."},
                        "replace_triggered_by": {"type": "array", "items": text("`kind.name` or `kind.name.attribute`."), "description": "Resources or attributes whose change replaces this one."},
                        "roll": {
                            "type": "object",
                            "description": "Replaces the resources of a group in turn: the next wait until those before them are done.",
                            "required": ["group"],
                            "additionalProperties": false,
                            "properties": {
                                "group": text("The group's name; all resources that name it are in it."),
                                "max_surge": {"type": "integer", "minimum": 0, "default": 1, "description": "How many may have a new object beside the old one at a time. 0: the old one goes first."},
                                "max_unavailable": {"type": "integer", "minimum": 0, "default": 0, "description": "How many may be without an object at a time, where the old one must go first; 0 counts as 1 there."},
                            },
                        },
                    },
                },
                "conditions": {
                    "type": "object",
                    "description": "What must hold.",
                    "additionalProperties": false,
                    "properties": {"before": conditions("before it is changed"), "after": conditions("after it was changed")},
                },
            }),
        ),
        "data" => (
            "Reads something that exists and that the project does not manage.",
            json!({"type": "data", "kind": "gabion_data", "name": "shared", "properties": {"input": {"zone": "eu-west-1a"}}}),
            json!(["type", "kind", "name"]),
            json!({
                "type": {"const": "data"},
                "kind": text("The kind of what is read, such as `aws_vpc`."),
                "name": text("Its name; `${{ data.KIND.NAME.ATTRIBUTE }}` refers to it."),
                "properties": {"type": "object", "description": "Its arguments, as its kind declares them: what to look for. Texts may hold `${{ … }}`, and refer to nothing that is known only after apply."},
            }),
        ),
        "module" => (
            "Uses a directory of documents, with inputs.",
            json!(null),
            json!(["type", "name", "source"]),
            json!({
                "type": {"const": "module"},
                "name": text("Its name, which every name in the module gets in front."),
                "source": text("The module's directory: a path from the directory of this file."),
                "inputs": {"type": "object", "description": "A value for each input that the module's `module.yml` declares."},
            }),
        ),
        "moved" => (
            "Says that a recorded object has another address now.",
            json!({"type": "moved", "from": "gateway_listener.entrance", "to": "gateway_listener.front"}),
            json!(["type", "from", "to"]),
            json!({"type": {"const": "moved"}, "from": text("The old address."), "to": text("The new address.")}),
        ),
        "removed" => (
            "Takes an object out of the configuration.",
            json!({"type": "removed", "from": "gabion_data.notes", "lifecycle": {"destroy": false}}),
            json!(["type", "from", "lifecycle"]),
            json!({
                "type": {"const": "removed"},
                "from": text("The address that it had."),
                "lifecycle": {
                    "type": "object",
                    "description": "What becomes of the object.",
                    "additionalProperties": false,
                    "required": ["destroy"],
                    "properties": {"destroy": {"type": "boolean", "description": "Whether the object is deleted; otherwise it is forgotten and goes on existing."}},
                },
            }),
        ),
        "import" => (
            "Takes an existing object under management.",
            json!({"type": "import", "to": "gabion_data.banner", "id": "01a202a6-9d22-77a4-a215-752e9df5d3a7"}),
            json!(["type", "to", "id"]),
            json!({"type": {"const": "import"}, "to": text("The address that it gets."), "id": text("The provider's id of the object.")}),
        ),
        _ => return None,
    };
    // A module's example is nothing without its directory.
    let examples = if document_type == "module" {
        json!([])
    } else {
        json!([example])
    };
    Some(json!({
        "type": "object",
        "description": summary,
        "examples": examples,
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    }))
}

/// Returns the JSON Schema of `for_each`, which every document may have.
pub fn for_each_json_schema() -> Value {
    json!({
        "description": "Makes a document of each entry: a map, or a list of keys, known when planning. Within it `${{ each.key }}` and `${{ each.value }}` are the entry.",
        "anyOf": [
            {"type": "object"},
            {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "uniqueItems": true},
            {"type": "string", "pattern": "^\\$\\{\\{.*\\}\\}$"},
        ],
    })
}

fn price_limit(description: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["per_hour"]}, {"required": ["per_month"]}],
        "description": description,
        "properties": {
            "per_hour": {"type": "number", "minimum": 0, "description": "US dollars an hour."},
            "per_month": {"type": "number", "minimum": 0, "description": "US dollars a month of 730 hours."},
            "unknown": {"enum": ["deny", "warn"], "default": "deny", "description": "What follows where a plan makes or changes something whose price is not known."},
        },
    })
}

/// Returns the JSON Schema of `gabion.yml`.
pub fn settings_json_schema() -> Value {
    let plugin = json!({"anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
    ]});
    json!({
        "type": "object",
        "description": "The settings of a gabion project.",
        "examples": [{
            "project": "chat",
            "backends": ["local"],
            "secrets": {"CLIENT_TOKEN": {"env": "CLIENT_TOKEN"}},
            "tokens": {"client": "${{ secrets.CLIENT_TOKEN }}"},
            "required_version": ">= 0.1",
        }],
        "additionalProperties": false,
        "properties": {
            "project": {"type": "string", "pattern": "^[a-z][a-z0-9-]{1,40}$", "description": "The project's name; by default that of its directory."},
            "state": {"description": "Where state is stored: a store's type, or a map with `type` and what the store needs.", "anyOf": [
                {"type": "string"},
                {"type": "object", "required": ["type"], "properties": {
                    "type": {"type": "string"},
                    "lease": {"anyOf": duration()["anyOf"], "description": "How long whoever holds the state may be silent before others may take it over: from 5s to 10m, 30s by default."},
                }},
            ]},
            "lineage": {"type": "string", "format": "uuid", "description": "The lineage that the store must have; `gabion init` writes it."},
            "stacks": {
                "type": "object",
                "description": "What holds for one stack only, by its name.",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {"lineage": {"type": "string", "format": "uuid", "description": "The lineage that the stack's store must have."}},
                },
            },
            "backends": {"type": "array", "items": plugin, "description": "The backends that documents may name."},
            "secrets": {
                "type": "object",
                "description": "Where each secret's value comes from, by name.",
                "additionalProperties": SecretSource::json_schema(),
            },
            "tokens": {"type": "object", "description": "Bearer tokens that services with `auth: true` accept, by label.", "additionalProperties": text("One secret: `${{ secrets.NAME }}`.")},
            "vars": {
                "type": "object",
                "description": "What the project leaves open, by name: a default, or a map with `type`, `default` and `description`.",
                "additionalProperties": {"anyOf": [
                    {"type": ["null", "string", "number", "boolean", "array"]},
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "type": {"enum": ["string", "int", "float", "bool", "list", "map", "any"], "default": "any", "description": "What it holds."},
                            "default": {"description": "Its value when nobody gives another; without one it must be given."},
                            "description": text("What it is for."),
                        },
                    },
                ]},
            },
            "outputs": {"type": "object", "description": "Values that people and other tools read after an apply."},
            "policy": {
                "type": "object",
                "additionalProperties": false,
                "description": "What plans of the project may do. A plan that it forbids is shown, exits with 5 and is never applied.",
                "properties": {
                    "max_destroy": {"type": "integer", "minimum": 0, "description": "How many objects one plan may destroy; `gabion destroy` has said so itself."},
                    "max_replace": {"type": "integer", "minimum": 0, "description": "How many objects one plan may replace."},
                    "protected": {"type": "array", "items": text("A resource type, or an address in which `*` stands for anything."), "description": "What may be neither destroyed nor replaced."},
                    "regions": {"type": "array", "items": text("A region."), "description": "The regions in which something may be made or changed."},
                    "open_ports": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 65535}, "description": "The ports that may be open to the whole internet."},
                    "max_price": price_limit("What everything may cost once a plan is applied, in US dollars; a plan that lowers it is never forbidden."),
                    "max_price_increase": price_limit("By how much one plan may raise what everything costs, in US dollars."),
                    "rules": {
                        "type": "array",
                        "description": "Rules of the project's own.",
                        "items": {
                            "type": "object",
                            "additionalProperties": false,
                            "required": ["name", "message"],
                            "properties": {
                                "name": text("The rule's name."),
                                "deny": text("A condition in CEL over `change` and `plan`; where it holds, or cannot be decided, the plan is forbidden."),
                                "warn": text("The same, and people are only told."),
                                "message": text("What people are told."),
                            },
                        },
                    },
                },
            },
            "required_version": text("The versions of gabion that may work on this project, such as `>= 0.2, < 0.5`."),
        },
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn duration() -> Value {
    json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ *[smhdw]?$"}], "description": "Seconds, or a number with a unit: `90`, `30s`, `5m`, `2h`."})
}

fn conditions(when: &str) -> Value {
    json!({
        "type": "array",
        "description": format!("What must hold {when}."),
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["condition", "error_message"],
            "properties": {
                "condition": text("A comparison such as `${{ gabion_data.a.output }} == 5`."),
                "error_message": text("What to say when it does not hold."),
            },
        },
    })
}
