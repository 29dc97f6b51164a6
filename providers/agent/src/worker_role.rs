//! Whether a worker is what it is to be registered as, in its own words.
//!
//! Routers take a worker for what they are told: one that was started as a decode worker and registered as a regular one
//! gets requests that it cannot answer. SGLang's engines tell their part, and the port that decode workers fetch from.

use std::time::Duration;

use gabion_host::http::{HttpRequest, send};
use gabion_host::transport::{Endpoint, LocalTransport};
use serde::Deserialize;

use crate::protocol::{AgentError, Member, WorkerType};
use crate::router_api::split_url;

/// How long a worker may take to tell.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where engines tell: the newer path, and the older one.
const PATHS: [&str; 2] = ["/server_info", "/get_server_info"];

/// What an engine says of itself. What it does not say is not judged.
#[derive(Debug, Default, Deserialize)]
struct ServerInfo {
    #[serde(default)]
    disaggregation_mode: Option<String>,
    #[serde(default)]
    disaggregation_bootstrap_port: Option<u16>,
}

/// Reports a worker that says it is something else than a membership says. One that tells nothing is what it is said to
/// be.
pub(crate) async fn check(member: &Member) -> Result<(), AgentError> {
    let Some((host, port)) = split_url(&member.url) else {
        return Ok(());
    };
    let endpoint = Endpoint::Tcp { host, port };
    for path in PATHS {
        let request = HttpRequest::get(path).timeout(CALL_TIMEOUT);
        let Ok(answer) = send(&LocalTransport, &endpoint, request).await else {
            return Ok(());
        };
        if answer.status.is_success() {
            let told: ServerInfo = answer.json().unwrap_or_default();
            return compare(member, &told);
        }
    }
    Ok(())
}

fn compare(member: &Member, told: &ServerInfo) -> Result<(), AgentError> {
    let planned = member.worker_type;
    let problem = |says: String, planned: String, port_only| {
        Err(AgentError::WrongRole {
            worker: member.name.clone(),
            says,
            planned,
            port_only,
        })
    };
    let is = match told.disaggregation_mode.as_deref() {
        None => return Ok(()),
        Some("null" | "") => WorkerType::Regular,
        Some("prefill") => WorkerType::Prefill,
        Some("decode") => WorkerType::Decode,
        // A part that this build does not know.
        Some(_) => return Ok(()),
    };
    if is != planned {
        let says = format!("says that it is a {} worker", is.as_str());
        return problem(says, format!("a {} one", planned.as_str()), false);
    }
    match (told.disaggregation_bootstrap_port, member.bootstrap_port) {
        (Some(is), Some(planned)) if is != planned && member.worker_type == WorkerType::Prefill => problem(
            format!("says that decode workers fetch from its port {is}"),
            format!("one with port {planned}"),
            true,
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(worker_type: WorkerType, port: Option<u16>, told: &str) -> Option<String> {
        let member = Member {
            router: "r".to_owned(),
            name: "qwen/default/0".to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            worker_type,
            bootstrap_port: port,
            model_id: None,
            labels: Default::default(),
        };
        compare(&member, &serde_json::from_str(told).unwrap())
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn what_an_engine_says_of_itself_is_compared_with_the_plan() {
        use WorkerType::{Decode, Prefill, Regular};
        for (worker_type, port, told) in [
            (
                Regular,
                None,
                r#"{"disaggregation_mode": "null", "disaggregation_bootstrap_port": 8998}"#,
            ),
            (Regular, None, r#"{"disaggregation_mode": null}"#),
            (
                Decode,
                None,
                r#"{"disaggregation_mode": "decode", "disaggregation_bootstrap_port": 8998}"#,
            ),
            (
                Prefill,
                Some(9),
                r#"{"disaggregation_mode": "prefill", "disaggregation_bootstrap_port": 9}"#,
            ),
            (Prefill, Some(9), r#"{"version": "1"}"#),
        ] {
            assert_eq!(check(worker_type, port, told), None, "{told}");
        }
        let wrong = |worker_type, told| check(worker_type, Some(9), told).unwrap();
        assert_eq!(
            wrong(Prefill, r#"{"disaggregation_mode": "decode"}"#),
            "worker qwen/default/0 says that it is a decode worker, and is to be registered as a prefill one"
        );
        assert_eq!(
            wrong(Decode, r#"{"disaggregation_mode": "null"}"#),
            "worker qwen/default/0 says that it is a regular worker, and is to be registered as a decode one"
        );
        assert_eq!(
            wrong(
                Prefill,
                r#"{"disaggregation_mode": "prefill", "disaggregation_bootstrap_port": 8}"#
            ),
            "worker qwen/default/0 says that decode workers fetch from its port 8, and is to be registered as one with port 9"
        );
    }
}
