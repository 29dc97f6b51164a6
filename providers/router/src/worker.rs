//! The attributes of a `router_worker`, read from inputs and from what router and agent say.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_agent::normal_url;
use gabion_agent::protocol::{Flavour, Member, Worker, WorkerType};
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::packages::Package;

/// What a worker is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) machine: String,
    pub(crate) agent: String,
    pub(crate) router: String,
    pub(crate) router_host: String,
    pub(crate) router_port: u16,
    pub(crate) flavour: Flavour,
    pub(crate) member: Member,
    pub(crate) ready_timeout: u64,
    pub(crate) drain_timeout: u64,
}

fn bad(attribute: &str, why: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorClass::Invalid, why).at(AttributePath::root(attribute))
}

fn text(inputs: &Attributes, name: &str) -> Result<String, ProviderError> {
    match inputs.get(name) {
        Some(Value::String(text)) => Ok(text.to_string()),
        _ => Err(bad(name, format!("`{name}` must be text."))),
    }
}

fn seconds(inputs: &Attributes, name: &str) -> Result<u64, ProviderError> {
    let number = inputs.get(name).and_then(Value::as_int);
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| bad(name, format!("`{name}` must be a number of seconds.")))
}

/// Returns the kind of router that a text names.
pub(crate) fn flavour(name: &str) -> Option<Flavour> {
    match name {
        "smg" => Some(Flavour::Smg),
        "sglang-router" => Some(Flavour::SglangRouter),
        "vllm-router" => Some(Flavour::VllmRouter),
        _ => None,
    }
}

/// Returns the part that a text names.
pub(crate) fn worker_type(name: &str) -> Option<WorkerType> {
    match name {
        "regular" => Some(WorkerType::Regular),
        "prefill" => Some(WorkerType::Prefill),
        "decode" => Some(WorkerType::Decode),
        _ => None,
    }
}

/// Returns host and port of a URL without a path.
pub(crate) fn authority(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    (!host.is_empty() && !host.contains('/')).then_some(())?;
    Some((host.to_owned(), port.parse().ok()?))
}

impl Wanted {
    /// Reads inputs that are wholly known, defaults filled in.
    pub(crate) fn read(planned: &Attributes) -> Result<Self, ProviderError> {
        let router = text(planned, "router")?;
        let router_url = text(planned, "router_url")?;
        let (router_host, router_port) = authority(&router_url)
            .ok_or_else(|| bad("router_url", format!("`{router_url}` is not `http://HOST:PORT`.")))?;
        let router_type = text(planned, "router_type")?;
        let flavour = flavour(&router_type)
            .ok_or_else(|| bad("router_type", format!("There is no router type `{router_type}`.")))?;
        let kind = text(planned, "worker_type")?;
        let worker_type = worker_type(&kind)
            .ok_or_else(|| bad("worker_type", format!("There is no worker type `{kind}`.")))?;
        let bootstrap_port = match planned.get("bootstrap_port").and_then(Value::as_int) {
            None => None,
            Some(port) => {
                Some(u16::try_from(port).map_err(|_| bad("bootstrap_port", format!("{port} is no port.")))?)
            }
        };
        let labels = planned.get("labels").and_then(Value::as_map).map(|labels| {
            let label = |(name, value): (&Arc<str>, &Value)| {
                value.as_str().map(|value| (name.to_string(), value.to_owned()))
            };
            labels.iter().filter_map(label).collect()
        });
        Ok(Self {
            machine: text(planned, "machine")?,
            agent: text(planned, "agent")?,
            router_host,
            router_port,
            flavour,
            member: Member {
                router: router.clone(),
                name: text(planned, "name")?,
                url: text(planned, "url")?,
                worker_type,
                bootstrap_port,
                model_id: planned.get("model_id").and_then(Value::as_str).map(str::to_owned),
                labels: labels.unwrap_or_default(),
            },
            router,
            ready_timeout: seconds(planned, "ready_timeout")?,
            drain_timeout: seconds(planned, "drain_timeout")?,
        })
    }
}

/// Returns a worker's attributes as router and agent have them; what only gabion knows stays as recorded.
pub(crate) fn actual(recorded: &Attributes, member: &Member, worker: &Worker) -> Attributes {
    let mut actual = recorded.clone();
    let mut set = |name: &str, value: Option<Value>| match value {
        Some(value) => {
            actual.insert(name.into(), value);
        }
        None => {
            actual.remove(name);
        }
    };
    // Agent and router have the same one, the router in its own spelling; what was asked for keeps its spelling.
    let url = recorded.get("url").and_then(Value::as_str);
    if url.is_none_or(|url| normal_url(url) != normal_url(&worker.url)) {
        set("url", Some(member.url.as_str().into()));
    }
    set("worker_type", Some(worker.worker_type.as_str().into()));
    set(
        "bootstrap_port",
        worker.bootstrap_port.map(|port| Value::Int(i64::from(port))),
    );
    set(
        "connection_mode",
        Some(worker.connection_mode.as_deref().unwrap_or("http").into()),
    );
    // The router prefers what the worker itself reports; what was asked for is in the membership.
    set("model_id", member.model_id.as_deref().map(Value::from));
    if recorded.get("router_type").and_then(Value::as_str) == Some(Package::VllmRouter.name()) {
        // It keeps none; those that were asked for are in the membership.
        return actual;
    }
    let labels: BTreeMap<&String, Value> = member
        .labels
        .keys()
        .filter_map(|name| Some((name, Value::from(worker.labels.get(name)?.as_str()))))
        .collect();
    let none_wanted = recorded
        .get("labels")
        .and_then(Value::as_map)
        .is_some_and(|wanted| wanted.is_empty());
    set(
        "labels",
        (!labels.is_empty() || none_wanted).then(|| Value::map(labels)),
    );
    actual
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            authority("http://127.0.0.1:8000"),
            Some(("127.0.0.1".to_owned(), 8000))
        );
        assert_eq!(authority("http://a.b:1/"), Some(("a.b".to_owned(), 1)));
        for url in [
            "https://a:1",
            "http://a",
            "http://:1",
            "http://a:x",
            "http://a/b:1",
        ] {
            assert_eq!(authority(url), None, "{url}");
        }
    }
}
