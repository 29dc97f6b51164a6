//! `model`: what a service calls its model, and how it is asked.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::rules::require_path;
use crate::term::{Term, keyword, map_schema, map_type, read_map, write_map};

keyword! {
    /// What a model does.
    pub enum ModelType: "a type of model" {
        /// It chats.
        Chat = "chat",
    }
}

keyword! {
    /// What the engine speaks.
    pub enum ModelFormat: "a format that engines speak" {
        /// The OpenAI API.
        OpenAi = "openai",
        /// Text Generation Inference.
        Tgi = "tgi",
    }
}

map_type! {
    /// What a service calls its model.
    pub struct Model: "model" {
        /// What it does.
        ("type") model_type: ModelType = ModelType::Chat,
        /// The name in requests.
        name: Spanned<String>,
        /// What the engine speaks.
        format: Spanned<ModelFormat>,
        /// Where the engine has its OpenAI API.
        prefix: Spanned<String> => "/v1".to_owned(),
        /// The prompt's template, for `tgi`; the model's own if not given.
        chat_template: Option<String> = None,
        /// The token that ends an answer, for `tgi`; the model's own if not given.
        eos_token: Option<String> = None,
    }
    check Model::check;
}

impl Model {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let (others, format): (&[&'static str], _) = match self.format.value {
            ModelFormat::OpenAi => (&["chat_template", "eos_token"], "tgi"),
            ModelFormat::Tgi => (&["prefix"], "openai"),
        };
        for key in others {
            if let Some(span) = map.key_span(key) {
                map.problems().push(
                    Diagnostic::error("unknown-key", "unknown key")
                        .detail(format!(
                            "`{key}` belongs to the format `{format}`; this model has `{}`.",
                            self.format.value
                        ))
                        .at(span)
                        .related(self.format.span.clone(), "the format")
                        .hint(format!("remove `{key}`")),
                );
            }
        }
        require_path(&self.prefix, "model's prefix", map.problems());
    }

    /// Returns where the engine has its OpenAI API: a path, without a slash at its end unless it is the root.
    pub fn prefix(&self) -> &str {
        match self.prefix.value.trim_end_matches('/') {
            "" => "/",
            prefix => prefix,
        }
    }
}

impl FromNode for Model {
    fn expected() -> String {
        "a model's name, or a map of `name`, `format` and `prefix`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            return read_map(node, problems);
        }
        let at = node.span.clone();
        Some(Self {
            model_type: ModelType::Chat,
            name: Spanned::from_node(node, problems)?,
            format: Spanned::new(ModelFormat::OpenAi, at.clone()),
            prefix: Spanned::new("/v1".to_owned(), at),
            chat_template: None,
            eos_token: None,
        })
    }
}

impl Term for Model {
    fn write(&self) -> Yaml {
        let mut written = write_map(self);
        if let (Yaml::Mapping(map), ModelFormat::Tgi) = (&mut written, self.format.value) {
            map.remove("prefix");
        }
        written
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "string"}, map_schema::<Self>()],
            "title": "model",
            "examples": ["Qwen/Qwen3-8B", {"name": "Qwen/Qwen3-8B", "format": "openai", "prefix": "/v1"}],
        })
    }
}
