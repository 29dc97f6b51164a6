//! Times the tokens of a streamed answer as its bytes are read from the upstream.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::metrics::{GapBasis, ServiceStats};

/// A line longer than this is counted as content without being parsed.
const LINE_LIMIT: usize = 256 * 1024;

/// Follows the events of one `text/event-stream` answer.
///
/// Its clock stands still while the client does not take what was read: a slow reader is not a slow engine.
#[derive(Debug)]
pub(crate) struct Meter {
    stats: Arc<ServiceStats>,
    request_received: Instant,
    blocked: Duration,
    line: Vec<u8>,
    overlong: bool,
    first: Option<Instant>,
    last: Option<Instant>,
    events: u64,
    tokens: Option<u64>,
}

impl Meter {
    /// Starts at the moment the request was received completely.
    pub(crate) fn new(stats: Arc<ServiceStats>, request_received: Instant) -> Self {
        Self {
            stats,
            request_received,
            blocked: Duration::ZERO,
            line: Vec::new(),
            overlong: false,
            first: None,
            last: None,
            events: 0,
            tokens: None,
        }
    }

    /// Leaves out a time in which nothing was read because the client took nothing.
    pub(crate) fn exclude(&mut self, blocked: Duration) {
        self.blocked += blocked;
    }

    /// Takes bytes in as they were read at `now`.
    pub(crate) fn read(&mut self, bytes: &[u8], now: Instant) {
        let now = now.checked_sub(self.blocked).unwrap_or(now);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_LIMIT {
                self.overlong = true;
            } else {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let overlong = std::mem::take(&mut self.overlong);
                self.end_line(&line, overlong, now);
            }
        }
    }

    fn end_line(&mut self, line: &[u8], overlong: bool, now: Instant) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let event = if overlong {
            Event {
                content: true,
                tokens: None,
            }
        } else {
            Event::of(data.trim_ascii())
        };
        if let Some(tokens) = event.tokens {
            self.tokens = Some(tokens);
        }
        if !event.content {
            return;
        }
        self.events += 1;
        self.last = Some(now);
        if self.first.is_none() {
            self.first = Some(now);
            self.stats
                .observe_first_token(now.saturating_duration_since(self.request_received));
        }
    }

    /// Records what can be said about the tokens between the first and the last.
    pub(crate) fn finish(&mut self) {
        let (Some(first), Some(last)) = (self.first.take(), self.last.take()) else {
            return;
        };
        let span = last.saturating_duration_since(first);
        let (count, basis) = match self.tokens {
            Some(tokens) => (tokens, GapBasis::Usage),
            None => (self.events, GapBasis::Events),
        };
        if let Some(gaps) = count
            .checked_sub(1)
            .and_then(|gaps| u32::try_from(gaps).ok())
            .filter(|gaps| *gaps > 0)
        {
            self.stats.observe_token_gap(span / gaps, basis);
        }
    }
}

/// What one event says.
struct Event {
    content: bool,
    tokens: Option<u64>,
}

impl Event {
    fn of(data: &[u8]) -> Self {
        if data.is_empty() || data == b"[DONE]" {
            return Self {
                content: false,
                tokens: None,
            };
        }
        match serde_json::from_slice::<Value>(data) {
            Ok(event) => Self {
                content: has_content(&event),
                tokens: completion_tokens(&event),
            },
            // Not a dialect we know: every event is taken for content.
            Err(_) => Self {
                content: true,
                tokens: None,
            },
        }
    }
}

/// Returns whether an event carries something the model generated: chat, completion, `/generate` or responses dialect.
fn has_content(event: &Value) -> bool {
    let filled = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    if let Some(choices) = event.get("choices").and_then(Value::as_array) {
        return choices.iter().any(|choice| {
            choice.get("text").is_some_and(filled)
                || choice
                    .get("delta")
                    .and_then(Value::as_object)
                    .is_some_and(|delta| delta.iter().any(|(name, value)| name != "role" && filled(value)))
        });
    }
    if let Some(kind) = event.get("type").and_then(Value::as_str) {
        return kind.ends_with(".delta") && event.get("delta").is_some_and(filled);
    }
    event.get("text").is_some_and(filled)
}

/// Returns the number of generated tokens that an event reports.
fn completion_tokens(event: &Value) -> Option<u64> {
    let usage = event
        .get("usage")
        .or_else(|| event.get("response").and_then(|response| response.get("usage")));
    usage
        .and_then(|usage| {
            usage
                .get("completion_tokens")
                .or_else(|| usage.get("output_tokens"))
        })
        .or_else(|| {
            event
                .get("meta_info")
                .and_then(|info| info.get("completion_tokens"))
        })
        .and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn chunk(content: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"role\":\"assistant\",\"content\":\"{content}\"}}}}]}}\n\n"
        )
    }

    #[test]
    fn tokens_are_timed_from_the_first_content_on() {
        let metrics = Metrics::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::new(metrics.service("g", "s"), start);
        meter.read(chunk("").as_bytes(), at(5));
        let first = chunk("a");
        let (head, tail) = first.split_at(20);
        meter.read(head.as_bytes(), at(10));
        meter.read(tail.as_bytes(), at(100));
        meter.exclude(Duration::from_millis(1000));
        meter.read(format!("{}{}", chunk("b"), chunk("c")).as_bytes(), at(1200));
        meter.read(
            b"data: {\"choices\":[],\"usage\":{\"completion_tokens\":11}}\n\ndata: [DONE]\n\n",
            at(1300),
        );
        meter.finish();
        let snapshot = &metrics.snapshot().gateways["g"]["s"];
        assert!((snapshot.time_to_first_token.sum_seconds - 0.1).abs() < 1e-6);
        assert_eq!(snapshot.inter_token_latency.count, 1);
        assert!((snapshot.inter_token_latency.sum_seconds - 0.01).abs() < 1e-6);
        assert_eq!(snapshot.inter_token_latency_estimate.count, 0);
    }

    #[test]
    fn without_usage_the_events_give_an_estimate() {
        let metrics = Metrics::default();
        let start = Instant::now();
        let mut meter = Meter::new(metrics.service("g", "s"), start);
        for step in 1..=3 {
            meter.read(chunk("x").as_bytes(), start + Duration::from_millis(step * 20));
        }
        meter.finish();
        let snapshot = &metrics.snapshot().gateways["g"]["s"];
        assert_eq!(
            (
                snapshot.inter_token_latency.count,
                snapshot.inter_token_latency_estimate.count
            ),
            (0, 1)
        );
        assert!((snapshot.inter_token_latency_estimate.sum_seconds - 0.02).abs() < 1e-6);
    }

    #[test]
    fn dialects_are_told_apart() {
        for (event, content, tokens) in [
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, false, None),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
                true,
                None,
            ),
            (r#"{"choices":[{"text":"a"}],"usage":null}"#, true, None),
            (
                r#"{"text":"ab","meta_info":{"completion_tokens":2}}"#,
                true,
                Some(2),
            ),
            (r#"{"type":"response.output_text.delta","delta":"x"}"#, true, None),
            (
                r#"{"type":"response.completed","response":{"usage":{"output_tokens":7}}}"#,
                false,
                Some(7),
            ),
            ("[DONE]", false, None),
            ("plain", true, None),
        ] {
            let read = Event::of(event.as_bytes());
            assert_eq!((read.content, read.tokens), (content, tokens), "{event}");
        }
    }
}
