//! The stores of this build: what `gabion.yml` and store URLs say about each, and opening them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_engine::config::{MapReader, Plugin, Settings};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, suggestion};
use gabion_engine::state::StateStore;
use gabion_engine::state::sqlite::SqliteStore;
use serde_json::{Value, json};

use super::remote_state::RemoteStore;
use crate::failure::Failure;
use crate::options::Environment;
use crate::store::{Encryption, StoreUrl, envelope};

/// The stores of this build.
const STORES: &[&str] = if cfg!(feature = "remote-state") {
    &["sqlite", "s3", "postgres"]
} else {
    &["sqlite"]
};

/// Whose state it is.
#[derive(Clone, Copy)]
pub(crate) struct StorePlace<'a> {
    /// The project's directory, absolute.
    pub(crate) directory: &'a Path,
    /// The directory of its settings, absolute: what they name by relative paths is found from it.
    pub(crate) settings: &'a Path,
    /// The project's name.
    #[cfg_attr(
        not(feature = "remote-state"),
        expect(dead_code, reason = "a file of the project needs no name")
    )]
    pub(crate) project: &'a str,
    /// The stack.
    pub(crate) stack: Option<&'a str>,
    /// Where credentials and keys come from.
    pub(crate) environment: &'a Environment,
}

/// Opens the store that the settings name; without settings, the database in the project's `.gabion` directory. Nothing
/// is read or made yet.
pub(crate) fn open_store(
    state: Option<&Plugin>,
    place: StorePlace<'_>,
) -> Result<Arc<dyn StateStore>, Failure> {
    let mut problems = Diagnostics::new();
    let kind = state.and_then(|plugin| decode(plugin, &mut problems));
    let encryption = state.and_then(|plugin| Encryption::of(plugin, &mut problems));
    if problems.has_errors() {
        return Err(problems.into());
    }
    let envelope = envelope(encryption.as_ref(), place.settings, place.environment)?;
    match kind.unwrap_or(Kind::Sqlite) {
        Kind::Sqlite => Ok(Arc::new(SqliteStore::sealed_at(sqlite_path(place), envelope))),
        Kind::Remote(store) => store.open(place, envelope),
    }
}

/// Returns what is wrong with what the settings say about the store.
pub(crate) fn check_store(settings: &Settings) -> Diagnostics {
    let mut problems = Diagnostics::new();
    if let Some(plugin) = &settings.state {
        decode(plugin, &mut problems);
        Encryption::of(plugin, &mut problems);
    }
    problems
}

/// Returns whether others can reach the store of the settings.
pub(crate) fn is_remote(state: Option<&Plugin>) -> bool {
    state.is_some_and(|plugin| plugin.plugin_type.value != "sqlite")
}

/// Returns whether the settings name a key for the content of the store.
pub(crate) fn is_encrypted(state: Option<&Plugin>) -> bool {
    state.is_some_and(|plugin| plugin.node.get("encryption").is_some_and(|node| !node.is_null()))
}

/// Returns the database of a project's state in its own directory.
fn sqlite_path(place: StorePlace<'_>) -> PathBuf {
    let local = place.directory.join(".gabion");
    match place.stack {
        None => local.join("state.db"),
        Some(stack) => local.join("stacks").join(format!("{stack}.db")),
    }
}

/// Renames what there is of a database, its write-ahead log included: `state.db.WORD`. Returns the new name, if there was
/// anything.
pub(crate) fn set_sqlite_aside(place: StorePlace<'_>, word: &str) -> std::io::Result<Option<PathBuf>> {
    let path = sqlite_path(place);
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(&path, &format!(".{word}"));
    let mut renamed = None;
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(beside(&path, suffix), beside(&aside, suffix)) {
            Ok(()) => renamed = Some(aside.clone()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(renamed)
}

/// A store and what is set for it.
enum Kind {
    Sqlite,
    Remote(RemoteStore),
}

fn decode(plugin: &Plugin, problems: &mut Diagnostics) -> Option<Kind> {
    match plugin.plugin_type.value.as_str() {
        "sqlite" => {
            if plugin.node.as_map().is_some() {
                let mut map = MapReader::open(&plugin.node, "sqlite store", problems)?;
                map.known(&["type", "encryption"]);
                map.refuse(
                    "path",
                    "The database is always `.gabion/state.db` in the project's directory.",
                    "remove it",
                );
                map.finish();
            }
            Some(Kind::Sqlite)
        }
        "s3" | "postgres" => RemoteStore::decode(plugin, problems).map(Kind::Remote),
        other => {
            let hint = suggestion(other, STORES.iter().copied())
                .unwrap_or_else(|| "take `state` out to keep the state in .gabion/state.db".to_owned());
            problems.push(
                Diagnostic::error("unknown-store", "unknown state store")
                    .detail(format!(
                        "This build of gabion has no state store `{other}`; it has: {}.",
                        STORES.join(", ")
                    ))
                    .at(plugin.plugin_type.span.clone())
                    .hint(hint),
            );
            None
        }
    }
}

/// Returns what `state` in `gabion.yml` must say for the store of a URL.
pub(crate) fn store_of_url(text: &str) -> Result<StoreUrl, Failure> {
    let url = match text {
        "sqlite" | "sqlite:" => Ok(StoreUrl::new(text, "sqlite")),
        _ => match text.split_once("://") {
            Some(("s3", rest)) => s3(text, rest),
            Some(("postgres" | "postgresql", _)) => postgres(text),
            _ => Err("It begins with none of them.".to_owned()),
        },
    };
    url.map_err(|why| {
        Failure::new("not a store")
            .detail(format!("`{}` names no store. {why}", without_password(text)))
            .hint(
                "write one of:\n    sqlite\n    s3://BUCKET/PREFIX?region=REGION\n    postgres://USER@HOST/DATABASE?sslmode=verify-full",
            )
    })
}

fn s3(text: &str, rest: &str) -> Result<StoreUrl, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() || bucket.contains(['@', ':']) {
        return Err("A bucket's name comes after `s3://`; credentials come from the environment.".to_owned());
    }
    let mut url = StoreUrl::new(text, "s3").with("bucket", bucket);
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() {
        url = url.with("prefix", prefix);
    }
    for (name, value) in pairs(query)? {
        url = match (name.as_str(), value.as_str()) {
            ("region" | "endpoint", _) => url.with(&name, value),
            ("allow_http", "true") => url.with_bool(&name, true),
            ("allow_http", "false") => url.with_bool(&name, false),
            _ => {
                return Err(format!(
                    "After `?` come `region`, `endpoint` and `allow_http`, not `{name}={value}`."
                ));
            }
        };
    }
    Ok(url)
}

fn postgres(text: &str) -> Result<StoreUrl, String> {
    if without_password(text) != text {
        return Err("A password must not stand in it: set PGPASSWORD, or PGPASSFILE.".to_owned());
    }
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let mut schema = None;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("schema=") {
            Some(name) => schema = Some(name.to_owned()),
            None => kept.push(pair),
        }
    }
    let plain = if kept.is_empty() {
        address.to_owned()
    } else {
        format!("{address}?{}", kept.join("&"))
    };
    let url = StoreUrl::new(text, "postgres").with("url", plain);
    Ok(match schema {
        Some(schema) => url.with("schema", schema),
        None => url,
    })
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}` has no `=`."))?;
            Ok((name.to_owned(), decoded(value)?))
        })
        .collect()
}

/// Returns a text without its percent encoding.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not percent-encoded text.");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        bytes.extend(hex::decode(digits).map_err(|_| wrong())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Returns a URL as it may be shown.
fn without_password(text: &str) -> String {
    let shown = || {
        let start = text.find("://")? + 3;
        let end = text[start..]
            .find(['/', '?', '#'])
            .map_or(text.len(), |end| start + end);
        let at = start + text[start..end].rfind('@')?;
        let colon = start + text[start..at].find(':')?;
        Some(format!("{}:…{}", &text[..colon], &text[at..]))
    };
    shown().unwrap_or_else(|| text.to_owned())
}

/// Returns the JSON Schema of the key `state`.
pub(crate) fn store_json_schema() -> Value {
    let encryption = Encryption::json_schema();
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "description": "Where state is stored; by default, and as `sqlite`, in `.gabion/state.db`.",
        "anyOf": [
            {"type": "string", "enum": ["sqlite"]},
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["type"],
                "properties": {
                    "type": {"type": "string", "enum": ["sqlite", "s3", "postgres"], "description": "The store: `sqlite`, `s3` or `postgres`."},
                    "bucket": text("For `s3`: the bucket."),
                    "prefix": text("For `s3`: what the objects' names begin with."),
                    "region": text("For `s3`: the bucket's region."),
                    "endpoint": text("For `s3`: the URL of a compatible service."),
                    "allow_http": {"type": "boolean", "default": false, "description": "For `s3`: whether the endpoint may be one without TLS."},
                    "url": text("For `postgres`: `postgres://USER@HOST:5432/DATABASE?sslmode=verify-full`, without a password."),
                    "schema": {"type": "string", "default": "gabion", "description": "For `postgres`: the schema that holds gabion's tables."},
                    "lease": {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string", "pattern": "^[0-9]+ *[smhdw]?$"}], "default": "30s", "description": "How long whoever holds the state may be silent before others may take it over: from 5s to 10m."},
                    "encryption": encryption,
                },
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kept;

    #[test]
    fn urls_become_settings() {
        let yaml = |text: &str| store_of_url(text).unwrap().to_yaml(&Kept::default());
        assert_eq!(yaml("sqlite"), "state:\n  type: sqlite\n");
        assert_eq!(
            yaml(
                "s3://states/team/chat?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1:5000&allow_http=true"
            ),
            "state:\n  type: s3\n  bucket: states\n  prefix: team/chat\n  region: eu-west-1\n  \
             endpoint: http://127.0.0.1:5000\n  allow_http: true\n"
        );
        assert_eq!(
            yaml("postgres://ada@db:5432/infra?sslmode=verify-full&schema=states"),
            "state:\n  type: postgres\n  url: postgres://ada@db:5432/infra?sslmode=verify-full\n  schema: states\n"
        );
        for wrong in [
            "",
            "s3://",
            "s3://key:secret@bucket",
            "s3://bucket?zone=x",
            "postgres://ada:hunter2@db/infra",
            "ftp://x",
        ] {
            let failure = store_of_url(wrong).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{wrong}");
        }
    }
}
