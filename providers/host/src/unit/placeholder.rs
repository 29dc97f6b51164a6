//! Placeholders in argv, working directory and environment, filled in at launch.

use std::collections::BTreeMap;
use std::path::Path;

/// What placeholders stand for.
///
/// Exactly `{ports.NAME}`, `{unit.dir}`, `{package.dir}` and `{gabion}` are placeholders; every other brace is text, so that JSON and shell stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct Substitution<'a> {
    /// Ports by name.
    pub ports: &'a BTreeMap<String, u16>,
    /// The unit's directory.
    pub unit_dir: &'a Path,
    /// The package's environment.
    pub package_dir: Option<&'a Path>,
    /// The executable that runs the shim.
    pub gabion: &'a Path,
}

/// A placeholder that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// No port has this name.
    #[error("`{{ports.{name}}}` names no port of the unit (ports: {})", known.join(", "))]
    UnknownPort {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// There is no package.
    #[error("`{{package.dir}}` stands for the package's directory, but the unit has no `package`")]
    NoPackage,
}

impl Substitution<'_> {
    /// Returns the text with its placeholders filled in.
    pub fn apply(&self, text: &str) -> Result<String, PlaceholderError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            filled.push_str(&rest[..open]);
            rest = &rest[open..];
            match rest.find('}') {
                Some(close) => match self.value(&rest[1..close])? {
                    Some(value) => {
                        filled.push_str(&value);
                        rest = &rest[close + 1..];
                    }
                    None => {
                        filled.push('{');
                        rest = &rest[1..];
                    }
                },
                None => break,
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, name: &str) -> Result<Option<String>, PlaceholderError> {
        let path = |path: &Path| Some(path.to_string_lossy().into_owned());
        Ok(match name {
            "unit.dir" => path(self.unit_dir),
            "gabion" => path(self.gabion),
            "package.dir" => path(self.package_dir.ok_or(PlaceholderError::NoPackage)?),
            _ => match name.strip_prefix("ports.") {
                Some(port) if is_name(port) => Some(
                    self.ports
                        .get(port)
                        .ok_or_else(|| PlaceholderError::UnknownPort {
                            name: port.to_owned(),
                            known: self.ports.keys().cloned().collect(),
                        })?
                        .to_string(),
                ),
                _ => None,
            },
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, package_dir: Option<&Path>) -> Result<String, PlaceholderError> {
        let ports = BTreeMap::from([("http".to_owned(), 20001), ("metrics".to_owned(), 20002)]);
        Substitution {
            ports: &ports,
            unit_dir: Path::new("/u"),
            package_dir,
            gabion: Path::new("/bin/gabion"),
        }
        .apply(text)
    }

    #[test]
    fn known_names_are_filled_in_and_other_braces_are_text() {
        let cases = [
            ("--port={ports.http}", "--port=20001"),
            ("{ports.http}{ports.metrics}", "2000120002"),
            (
                "{unit.dir}/x {gabion} {package.dir}/bin",
                "/u/x /bin/gabion /p/bin",
            ),
            (
                r#"{"a": {"ports": "{ports.http}"}}"#,
                r#"{"a": {"ports": "20001"}}"#,
            ),
            ("${PORT} ${ports.http} {} {{ }", "${PORT} $20001 {} {{ }"),
            ("{ports.} {ports.a b} {ports}", "{ports.} {ports.a b} {ports}"),
            ("open { only", "open { only"),
            ("ü{ports.http}ü", "ü20001ü"),
        ];
        for (text, expected) in cases {
            assert_eq!(fill(text, Some(Path::new("/p"))).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_placeholder_for_nothing_is_an_error() {
        assert_eq!(
            fill("{ports.nope}", None).unwrap_err().to_string(),
            "`{ports.nope}` names no port of the unit (ports: http, metrics)"
        );
        assert_eq!(fill("{package.dir}", None), Err(PlaceholderError::NoPackage));
    }
}
