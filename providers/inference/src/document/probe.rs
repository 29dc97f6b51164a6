//! Probes: HTTP requests that tell whether a replica is ready.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::config::{FromNode, Keyword, MapReader, Node, SpannedTemplate};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Path and query, starting with `/`.
    pub url: String,
    /// The method.
    pub method: Method,
    /// Headers, in the order written; values may hold expressions.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Option<String>,
    /// How long one try may take.
    pub timeout: Duration,
    /// The pause between two tries.
    pub interval: Duration,
    /// How many tries in a row must succeed.
    pub ready_after: u32,
}

/// The method of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// PATCH.
    Patch,
    /// HEAD.
    Head,
}

impl Method {
    /// Returns the method as HTTP has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Head => "HEAD",
        }
    }
}

impl Keyword for Method {
    const WHAT: &'static str = "an HTTP method of a probe";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("get", Self::Get),
        ("post", Self::Post),
        ("put", Self::Put),
        ("delete", Self::Delete),
        ("patch", Self::Patch),
        ("head", Self::Head),
    ];
}

#[derive(Clone, Copy)]
enum ProbeType {
    Http,
}

impl Keyword for ProbeType {
    const WHAT: &'static str = "a type of probe";
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http)];
}

impl FromNode for Probe {
    fn expected() -> String {
        "a probe such as `{type: http, url: /health}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "probe", problems)?;
        let probe_type = map.required::<ProbeType>("type");
        let url = map
            .optional::<SpannedTemplate>("url")
            .map(|url| url.map_or_else(|| "/".to_owned(), text));
        let method = map.or("method", Method::Get);
        let headers = map.or::<Vec<Header>>("headers", Vec::new());
        let body = map.optional::<SpannedTemplate>("body").map(|body| body.map(text));
        let timeout = map.or("timeout", Duration::from_secs(10));
        let interval = map.or("interval", Duration::from_secs(15));
        let ready_after = map.or("ready_after", 1);
        let until_ready = map.or("until_ready", false);
        let mut limits = |key: &'static str, good: bool, rule: &str| {
            if !good {
                let span = map.get(key).map(|node| node.span.clone());
                map.problems().push(
                    Diagnostic::error("bad-probe", "bad probe")
                        .detail(format!("`{key}` must {rule}."))
                        .at(span)
                        .hint(format!("change `{key}`")),
                );
            }
            good
        };
        let good = [
            limits(
                "url",
                url.as_ref()
                    .is_none_or(|url| url.starts_with('/') && url.len() <= 2048),
                "start with `/` and have at most 2048 characters",
            ),
            limits(
                "timeout",
                timeout.is_none_or(|timeout| (1..=300).contains(&timeout.as_secs())),
                "be from 1s to 5m",
            ),
            limits(
                "interval",
                interval.is_none_or(|interval| interval.as_secs() >= 1),
                "be at least 1s",
            ),
            limits(
                "ready_after",
                ready_after.is_none_or(|count: u32| count >= 1),
                "be at least 1",
            ),
            limits(
                "headers",
                headers.as_ref().is_none_or(|headers| headers.len() <= 16),
                "have at most 16 entries",
            ),
            limits(
                "body",
                !matches!(
                    (&method, &body),
                    (Some(Method::Get | Method::Head), Some(Some(_)))
                ),
                "not be there with the methods `get` and `head`",
            ),
        ]
        .into_iter()
        .all(|good| good);
        map.finish();
        probe_type?;
        until_ready?;
        let probe = Self {
            url: url?,
            method: method?,
            headers: headers?
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            body: body?,
            timeout: timeout?,
            interval: interval?,
            ready_after: ready_after?,
        };
        good.then_some(probe)
    }
}

/// Returns a template as it is written; lowering decides what becomes of its expressions.
fn text(template: SpannedTemplate) -> String {
    template.template.text().to_owned()
}

struct Header {
    name: String,
    value: String,
}

impl FromNode for Header {
    fn expected() -> String {
        "a header: `{name: …, value: …}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "header", problems)?;
        let name = map.required("name");
        let value = map.required::<SpannedTemplate>("value").map(text);
        map.finish();
        Some(Self {
            name: name?,
            value: value?,
        })
    }
}
