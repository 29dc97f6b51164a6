//! `rate_limits`: how many requests a service takes.

use gabion_engine::config::{MapReader, Spanned};
use gabion_engine::diagnostic::Diagnostic;

use super::scaling::Positive;
use crate::term::{keyword, map_type, plain_map};

keyword! {
    /// What requests are counted by.
    pub enum Partition: "what requests are counted by" {
        /// The client's address.
        IpAddress = "ip_address",
        /// A header's value.
        Header = "header",
    }
}

map_type! {
    /// What requests are counted by.
    pub struct PartitionKey: "key of a rate limit" {
        /// What it is.
        ("type") partition: Partition = Partition::IpAddress,
        /// The header's name, with the type `header`.
        header: Option<Spanned<String>> = None,
    }
    check PartitionKey::check;
}

plain_map!(PartitionKey, "a map such as `{type: header, header: X-User}`");

impl PartitionKey {
    fn check(&self, map: &mut MapReader<'_>) {
        let here = map.node().span.clone();
        let problem = match (self.partition, &self.header) {
            (Partition::IpAddress, Some(header)) => Diagnostic::error("unknown-key", "unknown key")
                .detail("A rate limit by address has no `header`.")
                .at(header.span.clone())
                .hint("write `type: header`, or remove it"),
            (Partition::Header, None) => Diagnostic::error("missing-key", "missing key")
                .detail("A rate limit by header needs the key `header`.")
                .at(here)
                .hint("add `header: …`"),
            (Partition::Header, Some(header)) if !is_header(&header.value) => {
                Diagnostic::error("bad-header", "bad header name")
                    .detail("A header's name has 1 to 500 letters, digits, `-` and `_`.")
                    .at(header.span.clone())
                    .hint("such as `X-User`")
            }
            _ => return,
        };
        map.problems().push(problem);
    }
}

fn is_header(name: &str) -> bool {
    (1..=500).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

map_type! {
    /// How many requests a part of a service takes.
    pub struct RateLimit: "rate limit" {
        /// The path prefix that it holds for; the longest that fits counts.
        prefix: Spanned<String> => "/".to_owned(),
        /// What requests are counted by.
        key: PartitionKey = PartitionKey { partition: Partition::IpAddress, header: None },
        /// Requests per second.
        rps: Spanned<Positive>,
        /// How many more may come at once.
        burst: u64 = 0,
    }
    check RateLimit::check;
}

plain_map!(RateLimit, "a map such as `{rps: 10, burst: 5}`");

impl RateLimit {
    fn check(&self, map: &mut MapReader<'_>) {
        let prefix = &self.prefix.value;
        let good = prefix.starts_with('/')
            && prefix.len() <= 4094
            && !prefix
                .chars()
                .any(|c| c.is_whitespace() || matches!(c, '\\' | '{' | '}'));
        if !good {
            map.problems().push(
                Diagnostic::error("bad-prefix", "bad prefix")
                    .detail("A prefix starts with `/` and has no spaces, braces and backslashes.")
                    .at(self.prefix.span.clone())
                    .hint("such as `/v1/`"),
            );
        }
        // One request a minute, and what fits into a counter.
        if !(1.0 / 60.0..=153_722_867_280_912_930.0).contains(&self.rps.value.0) {
            map.problems().push(
                Diagnostic::error("bad-rate", "bad rate")
                    .detail("The least rate is one request a minute: 1/60, about 0.0167.")
                    .at(self.rps.span.clone())
                    .hint("write at least 0.017"),
            );
        }
    }
}
