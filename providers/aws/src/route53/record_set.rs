//! Record sets: what inputs mean, what Route 53 has, and whether both are the same.

use std::collections::BTreeSet;

use aws_sdk_route53::types::{AliasTarget, ResourceRecord, ResourceRecordSet, RrType};
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::{Attributes, Value};

use super::zone_id;
use crate::attributes::{block, opened, required, text, texts, truth};

/// A record set as far as it matters whether two are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordSet {
    /// Lower case, without the dot at its end.
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) answer: Answer,
}

/// What a record set answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Records {
        ttl: i64,
        values: BTreeSet<String>,
    },
    Alias {
        zone: String,
        name: String,
        health: bool,
    },
}

impl RecordSet {
    /// Reads inputs, or recorded attributes.
    pub(crate) fn of(inputs: &Attributes) -> Self {
        let kind = required(inputs, "type").to_ascii_uppercase();
        let answer = match block(inputs, "alias") {
            Some(alias) => Answer::Alias {
                zone: required(alias, "zone_id").to_owned(),
                name: dns_name(required(alias, "name")),
                health: truth(alias, "evaluate_target_health").unwrap_or_default(),
            },
            None => Answer::Records {
                ttl: inputs
                    .get("ttl")
                    .map(opened)
                    .and_then(Value::as_int)
                    .unwrap_or(300),
                values: texts(inputs, "records")
                    .iter()
                    .map(|value| canonical(&kind, value))
                    .collect(),
            },
        };
        Self {
            name: dns_name(required(inputs, "name")),
            kind,
            answer,
        }
    }

    /// Reads what Route 53 has.
    pub(crate) fn there(set: &ResourceRecordSet) -> Self {
        let kind = set.r#type().as_str().to_owned();
        let answer = match set.alias_target() {
            Some(alias) => Answer::Alias {
                zone: alias.hosted_zone_id().to_owned(),
                name: dns_name(alias.dns_name()),
                health: alias.evaluate_target_health(),
            },
            None => Answer::Records {
                ttl: set.ttl().unwrap_or_default(),
                values: set
                    .resource_records()
                    .iter()
                    .map(|record| canonical(&kind, record.value()))
                    .collect(),
            },
        };
        Self {
            name: dns_name(set.name()),
            kind,
            answer,
        }
    }

    /// Returns the set as a call takes it.
    pub(crate) fn to_sdk(&self) -> Result<ResourceRecordSet, ProviderError> {
        let wrong = |error: aws_sdk_route53::error::BuildError| {
            ProviderError::new(
                ErrorClass::Invalid,
                format!("The record {} {}: {error}.", self.name, self.kind),
            )
        };
        let set = ResourceRecordSet::builder()
            .name(format!("{}.", self.name))
            .r#type(RrType::from(self.kind.as_str()));
        let set = match &self.answer {
            Answer::Records { ttl, values } => {
                let records: Result<Vec<ResourceRecord>, _> = values
                    .iter()
                    .map(|value| ResourceRecord::builder().value(value).build())
                    .collect();
                set.ttl(*ttl).set_resource_records(Some(records.map_err(wrong)?))
            }
            Answer::Alias { zone, name, health } => set.alias_target(
                AliasTarget::builder()
                    .hosted_zone_id(zone)
                    .dns_name(format!("{name}."))
                    .evaluate_target_health(*health)
                    .build()
                    .map_err(wrong)?,
            ),
        };
        set.build().map_err(wrong)
    }

    /// Returns the id: zone, name and type, as Terraform has it.
    pub(crate) fn id(&self, zone: &str) -> String {
        format!("{}_{}_{}", zone_id(zone), self.name, self.kind)
    }

    /// Returns what the set answers, for people.
    pub(crate) fn described(&self) -> String {
        match &self.answer {
            Answer::Records { ttl, values } => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                format!("{} (TTL {ttl} s)", values.join(", "))
            }
            Answer::Alias { zone, name, .. } => format!("an alias of {name} in zone {zone}"),
        }
    }
}

/// Returns zone, name and type of an id.
pub(crate) fn parse_id(id: &str) -> Option<(String, String, String)> {
    let (zone, rest) = id.split_once('_')?;
    let (name, kind) = rest.rsplit_once('_')?;
    let complete = super::is_zone_id(zone) && !name.is_empty() && !kind.is_empty();
    complete.then(|| (zone.to_owned(), dns_name(name), kind.to_ascii_uppercase()))
}

/// Returns a name as it is compared: lower case, no dot at its end, `*` as itself.
pub(crate) fn dns_name(name: &str) -> String {
    name.trim_end_matches('.')
        .to_ascii_lowercase()
        .replace("\\052", "*")
}

/// Returns a value as Route 53 has it.
fn canonical(kind: &str, value: &str) -> String {
    match kind {
        "TXT" | "SPF" => quoted(value),
        "CNAME" | "NS" | "PTR" => dns_name(value),
        "AAAA" => value
            .parse::<std::net::Ipv6Addr>()
            .map_or_else(|_| value.to_owned(), |address| address.to_string()),
        _ => value.to_owned(),
    }
}

/// Returns a text in the quotes that Route 53 wants, in pieces of at most 255 bytes; what has its quotes already stays.
fn quoted(value: &str) -> String {
    if value.starts_with('"') {
        return value.to_owned();
    }
    let mut pieces = vec![String::new()];
    let mut length = 0;
    for c in value.chars() {
        if length + c.len_utf8() > 255 {
            pieces.push(String::new());
            length = 0;
        }
        length += c.len_utf8();
        let piece = pieces.len() - 1;
        if matches!(c, '"' | '\\') {
            pieces[piece].push('\\');
        }
        pieces[piece].push(c);
    }
    let quoted: Vec<String> = pieces.iter().map(|piece| format!("\"{piece}\"")).collect();
    quoted.join(" ")
}

/// Returns the name of an inputs' record, if it is set.
pub(crate) fn name_of(inputs: &Attributes) -> Option<String> {
    text(inputs, "name").map(dns_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(kind: &str, values: &[&str]) -> Attributes {
        Attributes::from([
            ("name".into(), Value::from("*.Example.com.")),
            ("type".into(), Value::from(kind)),
            ("ttl".into(), Value::Int(60)),
            (
                "records".into(),
                Value::List(values.iter().map(Value::string).collect()),
            ),
        ])
    }

    #[test]
    fn what_is_sent_means_what_was_written() {
        for (kind, values) in [
            ("A", vec!["192.0.2.1", "192.0.2.2"]),
            ("AAAA", vec!["2001:DB8:0::1"]),
            ("CNAME", vec!["Gateway.example.net."]),
            ("TXT", vec!["v=spf1 -all", "say \"hi\""]),
        ] {
            let set = RecordSet::of(&inputs(kind, &values));
            assert_eq!(RecordSet::there(&set.to_sdk().unwrap()), set, "{kind}");
            assert_eq!(set.name, "*.example.com");
        }
    }

    #[test]
    fn a_long_text_is_sent_in_pieces() {
        let long = "x".repeat(300);
        let text = quoted(&long);
        assert_eq!(text, format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
        assert_eq!(quoted("\"as is\""), "\"as is\"");
    }

    #[test]
    fn an_id_names_zone_name_and_type() {
        let id = "Z1_*.example.com_A";
        assert_eq!(
            parse_id(id),
            Some(("Z1".into(), "*.example.com".into(), "A".into()))
        );
        assert_eq!(
            parse_id("Z1__dmarc.example.com_TXT").unwrap().1,
            "_dmarc.example.com"
        );
        assert_eq!(parse_id("gabion-conformance-nowhere"), None);
    }
}
