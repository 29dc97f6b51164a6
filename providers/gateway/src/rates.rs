//! `rate_limits` of a route: as inputs have them, and as the agent has them.

use std::sync::Arc;

use gabion_agent::protocol::{RateKey, RateLimit};
use gabion_engine::provider::ProviderError;
use gabion_engine::value::{Attributes, Value};

use crate::values::{Reader, invalid};

const NAME: &str = "rate_limits";

/// Reads the limits of a route.
pub(crate) fn wanted(reader: Reader<'_>) -> Result<Vec<RateLimit>, ProviderError> {
    let Some(value) = reader.get(NAME) else {
        return Ok(Vec::new());
    };
    let items = value.as_list().ok_or_else(|| invalid(NAME, "must be a list"))?;
    items.iter().map(rate_limit).collect()
}

fn rate_limit(value: &Value) -> Result<RateLimit, ProviderError> {
    let entries = value.as_map().ok_or_else(|| invalid(NAME, "has maps in it"))?;
    let entry = |name: &str| entries.get(name).filter(|value| !value.is_null());
    let rate = match entry("rps") {
        Some(Value::Int(rate)) => Some(*rate as f64),
        Some(Value::Float(rate)) => Some(*rate),
        _ => None,
    };
    let interval_nanos = rate
        .and_then(RateLimit::interval_of)
        .ok_or_else(|| invalid(NAME, "needs `rps` above 0 for each"))?;
    let prefix = entry("prefix").and_then(Value::as_str).unwrap_or("/");
    if !prefix.starts_with('/') {
        return Err(invalid(NAME, "has prefixes that begin with a slash"));
    }
    let burst = match entry("burst") {
        None => 0,
        Some(burst) => burst
            .as_int()
            .filter(|burst| *burst >= 0)
            .map(|burst| u32::try_from(burst).unwrap_or(u32::MAX))
            .ok_or_else(|| invalid(NAME, "has whole numbers as `burst`"))?,
    };
    Ok(RateLimit {
        prefix: prefix.to_owned(),
        interval_nanos,
        burst,
        key: match entry("header").and_then(Value::as_str) {
            None => RateKey::Address,
            Some(header) => RateKey::Header(header.to_owned()),
        },
    })
}

/// Describes limits: each in the words of the inputs where it is the one that they mean.
pub(crate) fn describe(limits: &[RateLimit], inputs: Reader<'_>) -> Value {
    let recorded = inputs.get(NAME).and_then(Value::as_list);
    if limits.is_empty() && recorded.is_none() {
        return Value::Null;
    }
    let recorded = recorded.unwrap_or_default();
    let own = |limit: &RateLimit| {
        let mut alike = recorded
            .iter()
            .filter(|value| rate_limit(value).is_ok_and(|known| known == *limit));
        alike.next().cloned()
    };
    Value::List(
        limits
            .iter()
            .map(|limit| own(limit).unwrap_or_else(|| plain(limit)))
            .collect(),
    )
}

fn plain(limit: &RateLimit) -> Value {
    let mut entries: Attributes = Attributes::from([
        (Arc::from("prefix"), Value::string(&limit.prefix)),
        (Arc::from("rps"), Value::Float(1e9 / limit.interval_nanos as f64)),
        (Arc::from("burst"), Value::Int(i64::from(limit.burst))),
    ]);
    if let RateKey::Header(header) = &limit.key {
        entries.insert("header".into(), Value::string(header));
    }
    Value::Map(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(limits: Value) -> Attributes {
        Attributes::from([(Arc::from(NAME), limits)])
    }

    #[test]
    fn limits_read_back_as_they_were_written_and_others_in_plain_words() {
        let written = Value::List(vec![
            Value::map([
                ("prefix", Value::from("/v1/")),
                ("rps", Value::Float(0.3)),
                ("burst", Value::Int(2)),
            ]),
            Value::map([("rps", Value::Int(3)), ("header", Value::from("X-User"))]),
        ]);
        let attributes = inputs(written.clone());
        let mut limits = wanted(Reader(&attributes)).unwrap();
        assert_eq!(limits[1].key, RateKey::Header("X-User".to_owned()));
        assert_eq!(describe(&limits, Reader(&attributes)), written);
        limits[0].interval_nanos = 500_000_000;
        let Value::List(described) = describe(&limits, Reader(&attributes)) else {
            panic!("no list")
        };
        assert_eq!(described[0].as_map().unwrap()["rps"], Value::Float(2.0));
        assert_eq!(describe(&[], Reader(&Attributes::new())), Value::Null);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for bad in [
            Value::map([("rps", Value::Int(0))]),
            Value::map([("rps", Value::Float(-1.0))]),
            Value::map([("prefix", Value::from("/"))]),
            Value::map([("rps", Value::Int(1)), ("prefix", Value::from("v1"))]),
            Value::map([("rps", Value::Int(1)), ("burst", Value::Int(-1))]),
        ] {
            let attributes = inputs(Value::List(vec![bad.clone()]));
            assert!(wanted(Reader(&attributes)).is_err(), "{bad:?}");
        }
    }
}
