//! Probes: HTTP requests that tell whether a replica is ready.

use std::time::Duration;

use gabion_engine::config::MapReader;
use gabion_engine::diagnostic::Diagnostic;

use crate::term::{Text, keyword, map_type, plain_map};

keyword! {
    /// The method of a probe.
    pub enum Method: "an HTTP method of a probe" {
        /// GET.
        Get = "get",
        /// POST.
        Post = "post",
        /// PUT.
        Put = "put",
        /// DELETE.
        Delete = "delete",
        /// PATCH.
        Patch = "patch",
        /// HEAD.
        Head = "head",
    }
}

impl Method {
    /// Returns the method as HTTP has it.
    pub fn http(self) -> &'static str {
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

keyword! {
    /// The type of a probe.
    pub enum ProbeType: "a type of probe" {
        /// An HTTP request.
        Http = "http",
    }
}

map_type! {
    /// A header of a probe.
    pub struct Header: "header" {
        /// The header's name.
        name: String,
        /// The header's value, which may hold expressions.
        value: Text,
    }
}

plain_map!(Header, "a header: `{name: …, value: …}`");

map_type! {
    /// An HTTP request that tells whether a replica is ready; any 2xx is a success.
    pub struct Probe: "probe" {
        /// What it is.
        ("type") probe_type: ProbeType,
        /// Path and query.
        url: Text = Text::from("/"),
        /// The method; `get` if not given.
        method: Option<Method> = None,
        /// Headers.
        headers: Vec<Header> = Vec::new(),
        /// The body; not with `get` and `head`.
        body: Option<Text> = None,
        /// How long one try may take.
        timeout: Duration = Duration::from_secs(10),
        /// The pause between two tries.
        interval: Duration = Duration::from_secs(15),
        /// How many tries in a row must succeed.
        ready_after: u32 = 1,
        /// Whether to stop once it succeeded that often.
        until_ready: bool = false,
    }
    check Probe::check;
}

plain_map!(Probe, "a probe such as `{type: http, url: /health}`");

impl Probe {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let printable = !self.url.chars().any(char::is_control);
        let has_length = |text: &str, most| (1..=most).contains(&text.chars().count());
        let headers_fit = self
            .headers
            .iter()
            .all(|header| has_length(&header.name, 256) && has_length(&header.value, 2048));
        // A body goes with a method that has one; without a word about the method, dstack lets it pass.
        let bodyless = matches!(self.method, Some(Method::Get | Method::Head));
        if self.body.is_none() {
            self.method.get_or_insert(Method::Get);
        }
        let rules = [
            (
                "url",
                self.url.starts_with('/') && self.url.chars().count() <= 2048 && printable,
                "start with `/` and have at most 2048 printable characters",
            ),
            (
                "timeout",
                (1..=300).contains(&self.timeout.as_secs()),
                "be from 1s to 5m",
            ),
            ("interval", self.interval.as_secs() >= 1, "be at least 1s"),
            ("ready_after", self.ready_after >= 1, "be at least 1"),
            ("headers", self.headers.len() <= 16, "have at most 16 entries"),
            (
                "headers",
                headers_fit,
                "have names of up to 256 characters and values of up to 2048, and none may be empty",
            ),
            (
                "body",
                self.body.as_ref().is_none_or(|body| has_length(body, 2048)),
                "have 1 to 2048 characters",
            ),
            (
                "body",
                self.body.is_none() || !bodyless,
                "not be there with the methods `get` and `head`",
            ),
        ];
        for (key, good, rule) in rules {
            if !good {
                let place = map.get(key).map(|node| node.span.clone());
                map.problems().push(
                    Diagnostic::error("bad-probe", "bad probe")
                        .detail(format!("`{key}` must {rule}."))
                        .at(place)
                        .hint(format!("change `{key}`")),
                );
            }
        }
    }
}
