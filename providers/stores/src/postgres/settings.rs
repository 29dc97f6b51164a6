//! What `gabion.yml` says about the database.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

use crate::postgres::url::DatabaseUrl;

/// The schema that the tables are in, unless another one is set.
pub const DEFAULT_SCHEMA: &str = "gabion";

/// The part of `state` that this store reads: `{type: postgres, url: …, schema: …}`.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresSettings {
    pub(super) url: DatabaseUrl,
    pub(super) schema: String,
}

impl PostgresSettings {
    /// Makes settings of a URL, for callers that have no file; the schema is [`DEFAULT_SCHEMA`].
    ///
    /// # Errors
    /// What is wrong with it, as full sentences. They never repeat a password.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let url = DatabaseUrl::parse(url).map_err(|problem| problem.why)?;
        Ok(Self {
            url,
            schema: DEFAULT_SCHEMA.to_owned(),
        })
    }

    /// Returns these settings with another schema.
    ///
    /// # Errors
    /// Why it cannot be one, as a full sentence.
    pub fn with_schema(self, schema: &str) -> Result<Self, &'static str> {
        check_schema(schema)?;
        Ok(Self {
            schema: schema.to_owned(),
            ..self
        })
    }
}

impl FromNode for PostgresSettings {
    fn expected() -> String {
        "a PostgreSQL store: `{type: postgres, url: postgres://user@host/database}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "PostgreSQL store", problems)?;
        // The type chose this decoder, and encryption is the same for every store.
        map.known(&["type", "encryption"]);
        let url_node = map.get("url");
        let url = map.required::<String>("url");
        let schema = map.optional::<Spanned<String>>("schema");
        for secret in ["password", "user"] {
            map.refuse(
                secret,
                match secret {
                    "user" => "The user is part of the URL.",
                    _ => "A password must not be written here.",
                },
                match secret {
                    "user" => "write `url: postgres://USER@host/database`",
                    _ => "set `PGPASSWORD`, or `PGPASSFILE` to a file with it, when gabion runs",
                },
            );
        }
        let url = match (url, url_node) {
            (Some(text), Some(node)) => match DatabaseUrl::parse(&text) {
                Ok(url) => Some(url),
                Err(problem) => {
                    map.problems().push(
                        Diagnostic::error("bad-url", "invalid database URL")
                            .detail(problem.why)
                            .at(node.part(problem.range.start, problem.range.end))
                            .hint(problem.hint),
                    );
                    None
                }
            },
            _ => None,
        };
        let schema = match schema {
            Some(Some(schema)) => match check_schema(&schema.value) {
                Ok(()) => Some(schema.value),
                Err(why) => {
                    map.problems().push(
                        Diagnostic::error("bad-name", "invalid name")
                            .detail(format!("This cannot be the name of a schema. {why}"))
                            .at(schema.span)
                            .hint("such as `gabion`"),
                    );
                    None
                }
            },
            Some(None) => Some(DEFAULT_SCHEMA.to_owned()),
            None => None,
        };
        map.finish();
        Some(Self {
            url: url?,
            schema: schema?,
        })
    }
}

/// Names that need no quotes, so that what administrators type means the same.
fn check_schema(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_') {
        return Err("It must start with a lower-case letter or `_`.");
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return Err("It may hold lower-case letters, digits and `_` only.");
    }
    if name.len() > 63 {
        return Err("It may have 63 characters at most.");
    }
    if name.starts_with("pg_") || name == "information_schema" {
        return Err("The name belongs to PostgreSQL itself.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::parse_yaml;
    use gabion_engine::diagnostic::SourceFile;

    use super::*;

    fn read(text: &str) -> (Option<PostgresSettings>, String) {
        let file = SourceFile::new("gabion.yml", text);
        let (documents, mut problems) = parse_yaml(&file);
        let settings = PostgresSettings::from_node(&documents[0], &mut problems);
        assert_eq!(settings.is_none(), problems.has_errors(), "{problems}");
        (settings, problems.to_string())
    }

    #[test]
    fn settings_are_read_and_have_a_default_schema() {
        let (settings, _) =
            read("type: postgres\nurl: postgres://ada@db.example/infra\nencryption: {key: {env: K}}\n");
        assert_eq!(settings.unwrap().schema, "gabion");
        let (settings, _) = read("{type: postgres, url: 'postgres://db.example/infra', schema: team_a}");
        assert_eq!(settings.unwrap().schema, "team_a");
    }

    #[test]
    fn every_problem_is_reported_at_its_place_and_no_password_is_repeated() {
        let (_, problems) =
            read("type: postgres\nurl: postgres://ada:hunter2@db.example/infra\nschema: pg_x\nshcema: x\n");
        assert!(problems.contains("gabion.yml:2:21"), "{problems}");
        assert!(problems.contains("gabion.yml:3:9"), "{problems}");
        assert!(problems.contains("did you mean `schema`?"), "{problems}");
        let (_, problems) = read("type: postgres\npassword: hunter2\n");
        assert!(
            problems.contains("`url`") && problems.contains("PGPASSWORD"),
            "{problems}"
        );
    }

    #[test]
    fn a_schema_needs_no_quotes() {
        for name in ["", "Gabion", "a b", "a\"b", "pg_temp", "1a", &"a".repeat(64)] {
            assert!(check_schema(name).is_err(), "{name}");
        }
        for name in ["gabion", "_x", "team_a2"] {
            assert!(check_schema(name).is_ok(), "{name}");
        }
    }
}
