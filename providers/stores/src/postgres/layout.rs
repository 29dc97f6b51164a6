//! The tables, and who may make and use them. What is in them is [`rows`](super::rows)' to say.

use gabion_engine::state::{FORMAT_VERSION, StoreError};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::postgres::error::{Place, Trouble};

/// The version of the tables. A later one that an earlier gabion must not write to raises this and `logs.format`.
pub(super) const LAYOUT_VERSION: i32 = 1;

/// The tables, in the order in which they are made; `{schema}` stands for the schema.
///
/// `logs.seal` covers the row, `logs.digest` all records. Content (`parts`, `body`) is as the envelope keeps it.
/// `leases.granted` is the highest epoch ever granted, `leases.epoch` that of the lease.
const TABLES: [(&str, &str); 6] = [
    (
        "logs",
        "CREATE TABLE {schema}.logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project text NOT NULL,
    stack text NOT NULL,
    format integer NOT NULL,
    lineage text NOT NULL,
    sequence bigint NOT NULL,
    chain text NOT NULL,
    epoch bigint NOT NULL,
    records bigint NOT NULL,
    digest bytea NOT NULL,
    parts bytea NOT NULL,
    seal bytea NOT NULL,
    UNIQUE (project, stack)
)",
    ),
    (
        "events",
        "CREATE TABLE {schema}.events (
    log bigint NOT NULL REFERENCES {schema}.logs ON DELETE CASCADE,
    sequence bigint NOT NULL,
    hash text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (log, sequence)
)",
    ),
    (
        "records",
        "CREATE TABLE {schema}.records (
    log bigint NOT NULL REFERENCES {schema}.logs ON DELETE CASCADE,
    uid text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (log, uid)
)",
    ),
    (
        "bases",
        "CREATE TABLE {schema}.bases (
    log bigint PRIMARY KEY REFERENCES {schema}.logs ON DELETE CASCADE,
    sequence bigint NOT NULL,
    chain text NOT NULL,
    body bytea NOT NULL
)",
    ),
    (
        "leases",
        "CREATE TABLE {schema}.leases (
    log bigint PRIMARY KEY REFERENCES {schema}.logs ON DELETE CASCADE,
    granted bigint NOT NULL,
    epoch bigint NOT NULL,
    held boolean NOT NULL,
    token text NOT NULL,
    holder text NOT NULL,
    since text NOT NULL,
    renewed text NOT NULL,
    beat bigint NOT NULL,
    length_ms bigint NOT NULL
)",
    ),
    (
        "format",
        "CREATE TABLE {schema}.format (
    version integer NOT NULL
)",
    ),
];

/// Whether the tables are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// There are none.
    Absent,
    /// All are, in a version that this build knows.
    Present,
}

/// Looks for the tables.
///
/// # Errors
/// When some are missing, or a later version of gabion made them.
pub(super) async fn look(client: &Client, place: &Place) -> Result<Layout, Trouble> {
    let rows = client
        .query_typed(
            "SELECT c.relname::text FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')",
            &[(&place.schema, Type::TEXT)],
        )
        .await?;
    let there = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<String>, _>>()?;
    let missing: Vec<&str> = TABLES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !there.iter().any(|there| there == name))
        .collect();
    if missing.len() == TABLES.len() {
        return Ok(Layout::Absent);
    }
    if !missing.is_empty() {
        let why = format!("it has no {}", missing.join(", "));
        return Err(place
            .unreadable(format!("the tables of schema {}", place.schema), why)
            .into());
    }
    let versions = client
        .query_typed(
            &format!("SELECT version FROM {}.format", quoted(&place.schema)),
            &[],
        )
        .await?;
    let [row] = versions.as_slice() else {
        let why = format!("it has {} rows and should have one", versions.len());
        return Err(place
            .unreadable(format!("table {}.format", place.schema), why)
            .into());
    };
    let version: i32 = row.try_get(0)?;
    if version > LAYOUT_VERSION {
        return Err(newer(place, version).into());
    }
    Ok(Layout::Present)
}

/// The error for a format that this build does not know.
pub(super) fn newer(place: &Place, found: i32) -> StoreError {
    StoreError::NewerFormat {
        location: place.location.clone(),
        found: u32::try_from(found).unwrap_or(FORMAT_VERSION + 1),
    }
}

/// Makes the tables if they are missing. Within a transaction; processes that do it at once wait for each other.
pub(super) async fn make(client: &Client, place: &Place) -> Result<(), Trouble> {
    // The lock is the database's, whatever the schema: making tables is rare.
    client
        .query_typed("SELECT pg_advisory_xact_lock(7312054416023843687)", &[])
        .await?;
    if look(client, place).await? == Layout::Present {
        return Ok(());
    }
    let exists = client
        .query_typed(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[(&place.schema, Type::TEXT)],
        )
        .await?;
    let mut script = String::new();
    if exists.is_empty() {
        // `IF NOT EXISTS` would ask for the right to make schemas even when there is nothing to make.
        script.push_str(&format!("CREATE SCHEMA {};\n", quoted(&place.schema)));
    }
    script.push_str(&tables(&place.schema));
    client.batch_execute(&script).await?;
    Ok(())
}

/// Returns the statements that make the tables.
fn tables(schema: &str) -> String {
    let schema = quoted(schema);
    let mut script = String::new();
    for (_, table) in TABLES {
        script.push_str(&table.replace("{schema}", &schema));
        script.push_str(";\n");
    }
    script.push_str(&format!(
        "INSERT INTO {schema}.format VALUES ({LAYOUT_VERSION});\n"
    ));
    script
}

/// Returns the statements with which an administrator lets a user keep states in a schema, indented for a message.
pub(super) fn grants(schema: &str, user: &str) -> String {
    let (schema, user) = (quoted(schema), quoted(user));
    [
        format!("CREATE SCHEMA IF NOT EXISTS {schema};"),
        format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user};"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user};"),
    ]
    .map(|line| format!("    {line}"))
    .join("\n")
}

/// Returns a name as SQL has it, quoted only where it must be.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    // Reserved words need quotes too; no list of them is as right as quoting what is not known to be plain.
    match plain && (name.contains('_') || name == "gabion") {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, shown) in [
            ("gabion", "gabion"),
            ("team_a", "team_a"),
            ("user", "\"user\""),
            ("Ada", "\"Ada\""),
            ("a\"b", "\"a\"\"b\""),
        ] {
            assert_eq!(quoted(name), shown);
        }
    }
}
