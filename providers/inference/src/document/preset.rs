//! `type: preset`: a search for the best way to serve a model, by dstack's agents. gabion reads it and makes none.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::profile::ProfileParams;
use super::rules::{exclude, is_set};
use super::service::GatewayChoice;
use super::task::AtLeastOne;
use crate::grammar::env::Env;
use crate::term::{Term, keyword, map_schema, map_type, plain_map, read_map, write_map};

keyword! {
    /// Whose agent it is.
    pub enum AgentProvider: "an agent" {
        /// Claude.
        Claude = "claude",
        /// Codex.
        Codex = "codex",
    }
}

keyword! {
    /// How hard the agent thinks.
    pub enum AgentEffort: "an effort" {
        /// Little.
        Low = "low",
        /// Some.
        Medium = "medium",
        /// Much.
        High = "high",
        /// Very much.
        ExtraHigh = "xhigh",
        /// As much as it can.
        Max = "max",
    }
}

map_type! {
    /// The agent that makes a preset.
    pub struct Agent: "preset agent" {
        /// Whose it is.
        provider: AgentProvider,
        /// Its model; its own default if not given.
        model: Option<String> = None,
        /// How hard it thinks; its own default if not given.
        effort: Option<Spanned<AgentEffort>> = None,
    }
    check Agent::check;
}

plain_map!(Agent, "a map such as `{provider: claude}`");

impl Agent {
    fn check(&self, map: &mut MapReader<'_>) {
        let effort = self
            .effort
            .as_ref()
            .filter(|effort| effort.value == AgentEffort::Max);
        if let (AgentProvider::Codex, Some(effort)) = (self.provider, effort) {
            map.problems().push(
                Diagnostic::error("bad-effort", "bad effort")
                    .detail("`codex` has no effort `max`.")
                    .at(effort.span.clone())
                    .hint("write `xhigh`"),
            );
        }
    }
}

map_type! {
    /// The map form of a preset's model.
    pub struct PresetModelMap: "preset's model" {
        /// The exact model.
        repo: Option<Spanned<String>> = None,
        /// What clients call it; the exact model's name if not given.
        name: Option<Spanned<String>> = None,
        /// A model of which any compatible variant will do.
        base: Option<Spanned<String>> = None,
    }
}

/// What a preset serves.
#[derive(Clone, Debug, PartialEq)]
pub enum PresetModel {
    /// Exactly this model, and what clients call it.
    Repo(String, Option<String>),
    /// Any compatible variant of this model.
    Base(String),
}

impl FromNode for PresetModel {
    fn expected() -> String {
        "a model, or a map with `repo` or `base`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            let repo = not_empty(Spanned::from_node(node, problems)?, problems)?;
            return Some(Self::Repo(repo, None));
        }
        let map: PresetModelMap = read_map(node, problems)?;
        match (map.repo, map.base, map.name) {
            (Some(repo), None, name) => {
                let name = match name {
                    Some(name) => Some(not_empty(name, problems)?),
                    None => None,
                };
                Some(Self::Repo(not_empty(repo, problems)?, name))
            }
            (None, Some(base), None) => not_empty(base, problems).map(Self::Base),
            _ => {
                problems.push(
                    node.error("bad-model", "bad model")
                        .detail("A preset's model is a `repo`, which may have a `name`, or a `base`.")
                        .hint("keep one of `repo` and `base`"),
                );
                None
            }
        }
    }
}

fn not_empty(text: Spanned<String>, problems: &mut Diagnostics) -> Option<String> {
    if text.value.trim().is_empty() {
        problems.push(
            Diagnostic::error("empty-text", "empty text")
                .detail("This must name something.")
                .at(text.span)
                .hint("such as `Qwen/Qwen3-8B`"),
        );
        return None;
    }
    Some(text.value)
}

impl Term for PresetModel {
    fn write(&self) -> Yaml {
        let entry = |key: &str, value: &String| (Yaml::from(key), Yaml::from(value.as_str()));
        Yaml::Mapping(match self {
            Self::Base(base) => [entry("base", base)].into_iter().collect(),
            Self::Repo(repo, name) => {
                let name = name.as_ref().map(|name| entry("name", name));
                [entry("repo", repo)].into_iter().chain(name).collect()
            }
        })
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "string"}, map_schema::<PresetModelMap>()],
            "title": "model",
            "examples": ["Qwen/Qwen3-8B", {"base": "Qwen/Qwen3-8B"}],
        })
    }
}

map_type! {
    /// The map form of a prompt.
    pub struct PromptMap: "prompt" {
        /// The file with the prompt.
        path: Spanned<String>,
    }
}

/// What the agent is told besides.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// This.
    Text(String),
    /// What this file holds.
    File(Spanned<String>),
}

impl FromNode for Prompt {
    fn expected() -> String {
        "a text, or `{path: …}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            let map: PromptMap = read_map(node, problems)?;
            not_empty(map.path.clone(), problems)?;
            return Some(Self::File(map.path));
        }
        let text: Spanned<String> = Spanned::from_node(node, problems)?;
        let length = text.value.chars().count();
        if length > 10_000 {
            problems.push(
                node.error("too-long", "text too long")
                    .detail(format!(
                        "A prompt has up to 10000 characters; this one has {length}."
                    ))
                    .hint("shorten it"),
            );
            return None;
        }
        not_empty(text, problems).map(Self::Text)
    }
}

impl Term for Prompt {
    fn write(&self) -> Yaml {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::File(path) => write_map(&PromptMap { path: path.clone() }),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "string", "maxLength": 10_000}, map_schema::<PromptMap>()],
            "title": "prompt",
            "examples": ["Prefer FP8.", {"path": "prompt.md"}],
        })
    }
}

map_type! {
    /// A preset document.
    pub struct Preset: "preset" {
        ..profile: ProfileParams,
        /// Its name.
        name: Spanned<String>,
        /// What it serves.
        model: Option<PresetModel> = None,
        /// Short for a model of which any compatible variant will do.
        base: Option<Spanned<String>> = None,
        /// Short for exactly this model.
        repo: Option<Spanned<String>> = None,
        /// What the agent is told besides.
        prompt: Option<Prompt> = None,
        /// The least length of the context.
        min_context_length: Option<AtLeastOne> = None,
        /// The longest median time to the first token, in milliseconds.
        max_ttft: Option<AtLeastOne> = None,
        /// How many trials are made.
        trials: Option<AtLeastOne> = None,
        /// Earlier presets to learn from.
        previous: Vec<String> = Vec::new(),
        /// How many requests are made at once.
        concurrency: Option<AtLeastOne> = None,
        /// How many tokens a request has, 1024 if not given.
        input_tokens: Option<AtLeastOne> = None,
        /// How many tokens an answer has, 1024 if not given.
        output_tokens: Option<Spanned<u32>> = None,
        /// How many tokens the requests begin with alike, 0 if not given.
        shared_prefix_tokens: Option<Spanned<u32>> = None,
        /// The requests of this data set, in place of made up ones.
        dataset: Option<Spanned<String>> = None,
        /// Whether the first trial serves the model with defaults alone.
        baseline: bool = true,
        /// The gateway that it is reached through.
        gateway: GatewayChoice = GatewayChoice::Any,
        /// The agent that makes it.
        agent: Option<Agent> = None,
        /// Environment variables.
        env: Env = Env::default(),
    }
    known ["type"]
    check Preset::check;
}

impl FromNode for Preset {
    fn expected() -> String {
        "a preset document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

impl Preset {
    fn check(&mut self, map: &mut MapReader<'_>) {
        self.check_model(map);
        self.check_tokens(map);
    }

    /// Brings `base` and `repo` into `model`.
    fn check_model(&mut self, map: &mut MapReader<'_>) {
        let set = |key: &'static str, map: &MapReader<'_>| (key, is_set(map, key));
        let (base, repo, model) = (set("base", map), set("repo", map), set("model", map));
        exclude(map, base, repo);
        exclude(map, base, model);
        exclude(map, repo, model);
        let short = match (self.base.take(), self.repo.take()) {
            (Some(base), _) => not_empty(base, map.problems()).map(PresetModel::Base),
            (None, Some(repo)) => not_empty(repo, map.problems()).map(|repo| PresetModel::Repo(repo, None)),
            (None, None) => None,
        };
        if !base.1 && !repo.1 && !model.1 {
            let here = map.node().span.clone();
            map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail("A preset needs a `base`, a `repo` or a `model`.")
                    .at(here)
                    .hint("add `base: …` for any variant of a model, or `repo: …` for exactly one"),
            );
        }
        self.model = self.model.take().or(short);
    }

    /// The rules about the requests of a trial.
    fn check_tokens(&mut self, map: &mut MapReader<'_>) {
        if let Some(dataset) = &self.dataset {
            let why = match dataset.value.trim() {
                "" => Some("It names nothing."),
                "random" => Some("Made up requests are what there is without `dataset`."),
                _ => None,
            };
            if let Some(why) = why {
                map.problems().push(
                    Diagnostic::error("bad-dataset", "bad data set")
                        .detail(why)
                        .at(dataset.span.clone())
                        .hint("remove it, or name a data set such as `sharegpt`"),
                );
            }
            for key in ["input_tokens", "output_tokens", "shared_prefix_tokens"] {
                let written = is_set(map, key);
                exclude(map, ("dataset", true), (key, written));
            }
        } else {
            self.input_tokens.get_or_insert(AtLeastOne(1024));
            let here = map.node().span.clone();
            self.output_tokens.get_or_insert(Spanned::new(1024, here.clone()));
            self.shared_prefix_tokens.get_or_insert(Spanned::new(0, here));
        }
        if let Some(output) = self.output_tokens.as_ref().filter(|output| output.value < 2) {
            map.problems().push(
                Diagnostic::error("out-of-range", "number out of range")
                    .detail("An answer has 2 tokens at least.")
                    .at(output.span.clone())
                    .hint("write 2 or more"),
            );
        }
        let input = self.input_tokens.map_or(1024, |tokens| tokens.0);
        if let Some(prefix) = self
            .shared_prefix_tokens
            .as_ref()
            .filter(|prefix| prefix.value >= input)
        {
            map.problems().push(
                Diagnostic::error("out-of-range", "number out of range")
                    .detail(format!(
                        "Of a request's {input} tokens, fewer must be the shared prefix: something has to differ."
                    ))
                    .at(prefix.span.clone())
                    .hint("write fewer, or raise `input_tokens`"),
            );
        }
    }
}
