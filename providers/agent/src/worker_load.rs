//! What a worker still has to do, in its own words.

use std::time::Duration;

use gabion_host::http::{HttpError, HttpRequest, HttpResponse, send};
use gabion_host::transport::{Endpoint, LocalTransport};
use serde_json::Value;

use crate::router_api::split_url;

/// How long a worker may take to tell.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Names of the gauges that count running requests, and of those that count waiting ones, by engine.
const GAUGES: [(&str, &[&str]); 2] = [
    (
        "sglang:num_running_reqs",
        &[
            "sglang:num_queue_reqs",
            "sglang:num_prefill_prealloc_queue_reqs",
            "sglang:num_prefill_inflight_queue_reqs",
            "sglang:num_decode_prealloc_queue_reqs",
            "sglang:num_decode_transfer_queue_reqs",
        ],
    ),
    ("vllm:num_requests_running", &["vllm:num_requests_waiting"]),
];

/// A worker's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// It counts this many running and queued requests.
    Requests(u64),
    /// Nothing listens there any more.
    Gone,
    /// It listens, and does not tell. That is not zero.
    Unknown,
}

/// Asks a worker how many requests it has: its `/metrics`, else SGLang's `/get_load`.
pub(crate) async fn worker_load(url: &str) -> Load {
    let Some((host, port)) = split_url(url) else {
        return Load::Unknown;
    };
    let endpoint = Endpoint::Tcp { host, port };
    match get(&endpoint, "/metrics").await {
        Err(HttpError::Connect { .. }) => return Load::Gone,
        Ok(answer) if answer.status.is_success() => {
            if let Some(requests) = from_metrics(&String::from_utf8_lossy(&answer.body)) {
                return Load::Requests(requests);
            }
        }
        _ => {}
    }
    match get(&endpoint, "/get_load").await {
        Err(HttpError::Connect { .. }) => Load::Gone,
        Ok(answer) if answer.status.is_success() => answer
            .json()
            .ok()
            .and_then(|value| from_get_load(&value))
            .map_or(Load::Unknown, Load::Requests),
        _ => Load::Unknown,
    }
}

async fn get(endpoint: &Endpoint, path: &str) -> Result<HttpResponse, HttpError> {
    send(
        &LocalTransport,
        endpoint,
        HttpRequest::get(path).timeout(CALL_TIMEOUT),
    )
    .await
}

/// Returns running plus queued requests, `None` unless both are told.
fn from_metrics(text: &str) -> Option<u64> {
    let sum = |wanted: &str| -> Option<u64> {
        let values: Vec<f64> = text.lines().filter_map(|line| sample(line, wanted)).collect();
        let sum: f64 = values.iter().sum();
        // NaN, negative and absent all mean that it is not known.
        if values.is_empty() || !(0.0..1e15).contains(&sum) {
            None
        } else {
            Some(sum.ceil() as u64)
        }
    };
    GAUGES.iter().find_map(|(running, queues)| {
        let mut requests = sum(running)? + sum(queues[0])?;
        for queue in &queues[1..] {
            requests += sum(queue).unwrap_or(0);
        }
        Some(requests)
    })
}

/// Returns the value of one line of the text format, if it is a sample of that metric.
fn sample(line: &str, wanted: &str) -> Option<f64> {
    let rest = line.strip_prefix(wanted)?;
    let rest = match rest.as_bytes().first()? {
        b'{' => rest.get(rest.rfind('}')? + 1..)?,
        b' ' | b'\t' => rest,
        _ => return None,
    };
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Reads SGLang's `/get_load`: one entry per data-parallel rank. `num_reqs` counts waiting ones too in some versions;
/// counting them twice does not matter for the question whether there are none.
fn from_get_load(value: &Value) -> Option<u64> {
    let ranks = match value {
        Value::Array(ranks) => ranks.as_slice(),
        Value::Object(_) => value
            .get("loads")
            .and_then(Value::as_array)
            .map_or(std::slice::from_ref(value), Vec::as_slice),
        _ => return None,
    };
    let mut sum = None;
    for rank in ranks {
        let running = rank
            .get("num_reqs")
            .or_else(|| rank.get("num_running_reqs"))?
            .as_u64()?;
        let waiting = rank.get("num_waiting_reqs").and_then(Value::as_u64).unwrap_or(0);
        sum = Some(sum.unwrap_or(0) + running + waiting);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gauge_is_not_zero_load() {
        for (text, load) in [
            (
                "sglang:num_running_reqs{m=\"a b}\"} 2.0\nsglang:num_queue_reqs{m=\"x\"} 1\n",
                Some(3),
            ),
            (
                "sglang:num_running_reqs{dp=\"0\"} 0\nsglang:num_running_reqs{dp=\"1\"} 1\nsglang:num_queue_reqs 0 1700\n",
                Some(1),
            ),
            (
                "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n",
                Some(0),
            ),
            ("sglang:num_running_reqs 0\n", None),
            ("sglang:num_running_reqs NaN\nsglang:num_queue_reqs 0\n", None),
            ("sglang:num_running_reqs_total 0\nsglang:num_queue_reqs 0\n", None),
            ("", None),
        ] {
            assert_eq!(from_metrics(text), load, "{text}");
        }
    }

    #[test]
    fn get_load_is_read_per_rank() {
        let ranks = serde_json::json!([{"num_reqs": 1, "num_waiting_reqs": 2}, {"num_reqs": 0, "num_waiting_reqs": 0}]);
        assert_eq!(from_get_load(&ranks), Some(3));
        assert_eq!(from_get_load(&serde_json::json!([])), None);
        assert_eq!(from_get_load(&serde_json::json!([{"load": 1}])), None);
    }
}
