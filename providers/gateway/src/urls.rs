//! URLs: where a route answers, and how addresses are spelled.

use gabion_agent::normal_url;
use gabion_engine::provider::ProviderError;
use gabion_engine::value::Value;

use crate::values::{Reader, invalid};

/// Returns where the service and its model answer, unknown as long as the gateway's URL is.
pub(crate) fn addresses(reader: Reader<'_>) -> [(&'static str, Value); 2] {
    let has_model = reader.get("model").is_some();
    let inputs_known = ["gateway_url", "hosts", "path_prefix", "service"]
        .iter()
        .all(|name| reader.get(name).is_none_or(Value::is_wholly_known));
    let gateway_url = match reader.text("gateway_url").filter(|_| inputs_known) {
        Some(url) => url.trim_end_matches('/'),
        None => {
            let model_url = if has_model { Value::unknown() } else { Value::Null };
            return [("url", Value::unknown()), ("model_url", model_url)];
        }
    };
    let prefix = reader.text("path_prefix").unwrap_or("/");
    let host = reader
        .get("hosts")
        .and_then(Value::as_list)
        .and_then(|hosts| hosts.first()?.as_str());
    let (service_base, model_base) = match host {
        None => (gateway_url.to_owned(), gateway_url.to_owned()),
        Some(host) => {
            let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
            (
                with_host(gateway_url, host),
                with_host(gateway_url, &format!("gateway.{domain}")),
            )
        }
    };
    let model_url = if has_model {
        format!("{model_base}/v1").into()
    } else {
        Value::Null
    };
    let reachable = host.is_some() || reader.get("path_prefix").is_some();
    let url = if reachable {
        format!("{service_base}{prefix}").into()
    } else {
        Value::Null
    };
    [("url", url), ("model_url", model_url)]
}

/// Returns a URL with another host and the same port.
fn with_host(url: &str, host: &str) -> String {
    let (scheme, authority) = url.split_once("://").unwrap_or(("http", url));
    match authority.rsplit_once(':') {
        Some((_, "443")) if scheme == "https" => format!("{scheme}://{host}"),
        Some((_, port)) if !port.contains(']') => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    }
}

/// Returns host and port of a URL.
pub(crate) fn host_and_port(url: &str, name: &str) -> Result<(String, u16), ProviderError> {
    let normal = normal_url(url);
    let authority = normal.split_once("://").map_or(normal.as_str(), |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let parts = authority.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?))
    });
    parts.ok_or_else(|| invalid(name, "needs URLs with a host and a port"))
}

/// Returns the URL of a host and port.
pub(crate) fn url_of(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

/// Returns the way a URL is spelled in the inputs, if that leads to the same place.
pub(crate) fn spelled(recorded: Option<&Value>, url: String) -> Value {
    match recorded.and_then(Value::as_str) {
        Some(own) if normal_url(own) == normal_url(&url) => own.into(),
        _ => url.into(),
    }
}
