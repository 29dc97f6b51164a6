//! Headers that end at the gateway and headers that it writes.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers that concern one connection only (RFC 9110 §7.6.1, and what is treated alike in practice).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a client could say about itself that only a proxy may say.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-real-ip",
];

/// Removes what concerns one connection only, the headers that `Connection` names included.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to take away what the gateway relies on.
        .filter(|name| {
            *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::AUTHORIZATION
        })
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Where a request came from, for the headers that tell the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The address of the client.
    pub(crate) peer: IpAddr,
    /// The host that the client asked for.
    pub(crate) host: Option<HeaderValue>,
    /// The prefix that was cut off.
    pub(crate) prefix: Option<String>,
    /// Whether the client spoke HTTPS.
    pub(crate) is_secure: bool,
}

/// Turns the headers a client sent into those the upstream gets; framing is left to the connection.
pub(crate) fn rewrite_request_headers(headers: &mut HeaderMap, origin: &Origin) {
    remove_hop_by_hop(headers);
    // The body is framed anew, and it is sent at once.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::EXPECT);
    headers.remove("http2-settings");
    // Some servers read `X_Forwarded_For` as `X-Forwarded-For`.
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| FORWARDED.contains(&name.as_str().replace('_', "-").as_str()))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&origin.peer.to_string()) {
        headers.insert("x-forwarded-for", value);
    }
    let scheme = if origin.is_secure { "https" } else { "http" };
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    if let Some(host) = &origin.host {
        headers.insert("x-forwarded-host", host.clone());
        headers.insert(header::HOST, host.clone());
    }
    if let Some(prefix) = origin
        .prefix
        .as_deref()
        .and_then(|prefix| HeaderValue::from_str(prefix).ok())
    {
        headers.insert("x-forwarded-prefix", prefix);
    }
}

/// Turns the headers an upstream sent into those the client gets.
pub(crate) fn rewrite_response_headers(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
}

/// Returns the token of an `Authorization: Bearer …` header, if there is exactly one such header.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    match values.next() {
        None => bearer(value),
        Some(_) => None,
    }
}

/// Returns the tokens of all `Authorization: Bearer …` headers, for whoever must not let one through.
pub(crate) fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_claims_about_the_way_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        headers.insert("x_forwarded_for", HeaderValue::from_static("6.6.6.6"));
        headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("x-secret, close, host"),
        );
        headers.insert("x-secret", HeaderValue::from_static("1"));
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
        let origin = Origin {
            peer: IpAddr::from([127, 0, 0, 1]),
            host: Some(HeaderValue::from_static("qwen.example.com")),
            prefix: Some("/services/qwen".to_owned()),
            is_secure: false,
        };
        rewrite_request_headers(&mut headers, &origin);
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "host",
                "x-forwarded-prefix"
            ]
        );
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    }

    #[test]
    fn only_one_bearer_token_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer_token(&headers), None);
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert_eq!(bearer_token(&headers), Some("abc"));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer def"));
        assert_eq!(bearer_token(&headers), None);
        assert_eq!(bearer_tokens(&headers).collect::<Vec<_>>(), ["abc", "def"]);
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic abc"));
        assert_eq!(bearer_token(&headers), None);
    }
}
