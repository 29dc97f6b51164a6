//! What `gabion.yml` says about the store.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

/// `state: {type: s3, bucket: …}`.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSettings {
    /// The bucket. It must exist.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The region; `None` takes `AWS_REGION`, `AWS_DEFAULT_REGION`, then `us-east-1`.
    pub region: Option<String>,
    /// The service's URL; `None` takes `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then Amazon's for the region.
    pub endpoint: Option<String>,
    /// Whether an `http://` endpoint on another machine may be used.
    pub allow_http: bool,
}

impl FromNode for ObjectSettings {
    fn expected() -> String {
        "a map: `{type: s3, bucket: NAME}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(
                node.error("missing-key", "missing key")
                    .detail("State in S3 needs the key `bucket`.")
                    .hint("write it as a map:\nstate: {type: s3, bucket: NAME}"),
            );
            return None;
        }
        let mut map = MapReader::open(node, "state store in S3", problems)?;
        map.known(&["type", "encryption"]);
        let bucket = map.required::<Spanned<String>>("bucket");
        let prefix = map.optional::<Spanned<String>>("prefix");
        let region = map.optional::<String>("region");
        let endpoint = map.optional::<Spanned<String>>("endpoint");
        let allow_http = map.or("allow_http", false);
        if let Some(bucket) = &bucket
            && !is_bucket_name(&bucket.value)
        {
            map.problems().push(
                Diagnostic::error("bad-bucket", "bad bucket name")
                    .detail(format!("`{}` cannot be the name of a bucket.", bucket.value))
                    .at(bucket.span.clone())
                    .hint("3 to 63 lower-case letters, digits, dots and hyphens, without `s3://` and without a path; a path goes to `prefix`"),
            );
        }
        if let Some(Some(prefix)) = &prefix
            && let Some(why) = bad_prefix(&prefix.value)
        {
            map.problems().push(
                Diagnostic::error("bad-prefix", "bad prefix")
                    .detail(format!("`{}` {why}.", prefix.value))
                    .at(prefix.span.clone())
                    .hint("write parts joined by `/`, as in `gabion/state`"),
            );
        }
        if let (Some(Some(endpoint)), Some(allow_http)) = (&endpoint, allow_http)
            && let Err(why) = check_endpoint(&endpoint.value, allow_http)
        {
            map.problems().push(
                Diagnostic::error("bad-endpoint", "endpoint that cannot be used")
                    .detail(format!("{}.", why.detail))
                    .at(endpoint.span.clone())
                    .hint(why.hint),
            );
        }
        map.finish();
        Some(Self {
            bucket: bucket?.value,
            prefix: prefix?
                .map(|prefix| prefix.value.trim_matches('/').to_owned())
                .unwrap_or_default(),
            region: region?,
            endpoint: endpoint?.map(|endpoint| endpoint.value),
            allow_http: allow_http?,
        })
    }
}

fn is_bucket_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'-' | b'.'))
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}

fn bad_prefix(prefix: &str) -> Option<&'static str> {
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| part == "." || part == "..") {
        return Some("has `.` or `..` as a part, which object storage does not resolve");
    }
    if prefix.contains("//") {
        return Some("has an empty part");
    }
    prefix
        .chars()
        .any(|found| !(found.is_ascii_alphanumeric() || "-_.=/+@".contains(found)))
        .then_some("has a character that is not safe in every object's key")
}

/// Why an endpoint cannot be used.
pub(super) struct BadEndpoint {
    /// A sentence without its full stop.
    pub(super) detail: String,
    /// What to do.
    pub(super) hint: &'static str,
}

/// Checks an endpoint's URL.
pub(super) fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), BadEndpoint> {
    let bad = |detail: &str, hint| {
        Err(BadEndpoint {
            detail: detail.to_owned(),
            hint,
        })
    };
    let Ok(url) = reqwest::Url::parse(endpoint) else {
        return bad("It is no URL", "write it as in `https://storage.example.com`");
    };
    if !url.username().is_empty() || url.password().is_some() {
        // It is not repeated: what stands in it is a secret.
        return bad(
            "It has credentials in it",
            "take them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where gabion runs",
        );
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        _ if host.is_empty() => bad("It names no host", "write it as in `https://storage.example.com`"),
        "https" => Ok(()),
        "http" if loopback || allow_http => Ok(()),
        "http" => bad(
            "It is `http://` on another machine, so that everybody in between can read and change the state",
            "use `https://`, or set `allow_http: true` if the network is trusted",
        ),
        _ => bad(
            "It is neither `https://` nor `http://`",
            "write it as in `https://storage.example.com`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::diagnostic::SourceFile;

    use super::*;

    fn decode(text: &str) -> Result<ObjectSettings, Vec<String>> {
        let file = SourceFile::new("gabion.yml", text);
        let (documents, mut problems) = gabion_engine::config::parse_yaml(&file);
        let read = documents
            .first()
            .and_then(|node| ObjectSettings::from_node(node, &mut problems));
        let found: Vec<String> = problems.iter().map(|problem| problem.code.to_string()).collect();
        match read {
            Some(settings) if found.is_empty() => Ok(settings),
            _ => Err(found),
        }
    }

    #[test]
    fn settings_are_read() {
        let settings = decode(
            "{type: s3, bucket: team-state, prefix: /gabion/, region: eu-west-1, endpoint: 'http://127.0.0.1:9000', encryption: {}}",
        );
        assert_eq!(
            settings.unwrap(),
            ObjectSettings {
                bucket: "team-state".to_owned(),
                prefix: "gabion".to_owned(),
                region: Some("eu-west-1".to_owned()),
                endpoint: Some("http://127.0.0.1:9000".to_owned()),
                allow_http: false,
            }
        );
        let text = "{type: s3, bucket: abc, endpoint: 'http://minio:9000', allow_http: true}";
        assert!(decode(text).unwrap().allow_http);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        for (text, code) in [
            ("s3", "missing-key"),
            ("{type: s3}", "missing-key"),
            ("{type: s3, bucket: 's3://abc'}", "bad-bucket"),
            ("{type: s3, bucket: abc, prefix: a/../b}", "bad-prefix"),
            (
                "{type: s3, bucket: abc, endpoint: 'http://minio:9000'}",
                "bad-endpoint",
            ),
            (
                "{type: s3, bucket: abc, endpoint: 'https://key:secret@minio'}",
                "bad-endpoint",
            ),
            ("{type: s3, bucket: abc, endpoint: minio}", "bad-endpoint"),
            ("{type: s3, bucket: abc, acess: no}", "unknown-key"),
        ] {
            assert_eq!(decode(text).unwrap_err(), [code], "{text}");
        }
    }
}
