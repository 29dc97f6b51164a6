//! Passwords: from `PGPASSWORD`, or a file like libpq's. They are never printed.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Where a password comes from. A file is read whenever a connection is made: what is in it may change.
#[derive(Clone, Default)]
pub(super) enum PasswordSource {
    /// There is none.
    #[default]
    None,
    /// The environment had it.
    Given(Zeroizing<String>),
    /// A file has it, and must be there.
    File(PathBuf),
    /// A file may have it.
    DefaultFile(PathBuf),
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "None"),
            Self::Given(_) => write!(f, "Given"),
            Self::File(path) | Self::DefaultFile(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// What a line of the file must match.
pub(super) struct Login<'a> {
    /// The host's name; `localhost` for a Unix socket.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

impl PasswordSource {
    /// Finds where the password comes from, by the variables that libpq reads.
    pub(super) fn of(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let Some(password) = set("PGPASSWORD") {
            return Self::Given(Zeroizing::new(password));
        }
        if let Some(path) = set("PGPASSFILE") {
            return Self::File(path.into());
        }
        match set("HOME") {
            Some(home) => Self::DefaultFile(Path::new(&home).join(".pgpass")),
            None => Self::None,
        }
    }

    /// Returns the password for a login.
    ///
    /// # Errors
    /// When the file cannot be used, as a sentence without a full stop.
    pub(super) fn find(&self, login: &Login<'_>) -> Result<Option<Zeroizing<String>>, String> {
        let (path, optional) = match self {
            Self::None => return Ok(None),
            Self::Given(password) => return Ok(Some(password.clone())),
            Self::File(path) => (path, false),
            Self::DefaultFile(path) => (path, true),
        };
        let shown = path.display();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if optional && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the password file {shown} cannot be read: {error}")),
        };
        if !metadata.is_file() {
            return Err(format!("the password file {shown} is no plain file"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(format!(
                "the password file {shown} can be read by others, and is not used; \
                 close it with `chmod 600 {shown}`"
            ));
        }
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| format!("the password file {shown} cannot be read: {error}"))?;
        Ok(text.lines().find_map(|line| matched(line, login)))
    }
}

/// Returns the password of a line `host:port:database:user:password` if it is for this login.
fn matched(line: &str, login: &Login<'_>) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let port = login.port.to_string();
    let mut rest = line;
    for wanted in [login.host, &port, login.database, login.user] {
        let (field, after) = field(rest)?;
        // A star that is escaped is a star.
        if &rest[..rest.len() - after.len() - 1] != "*" && field != wanted {
            return None;
        }
        rest = after;
    }
    Some(Zeroizing::new(unescaped(rest)))
}

/// Splits a line at the first `:` that is not escaped.
fn field(line: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return Some((unescaped(&line[..at]), &line[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'_> = Login {
        host: "db.example",
        port: 5432,
        database: "infra",
        user: "ada",
    };

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        for (line, password) in [
            ("db.example:5432:infra:ada:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            ("*:*:*:ada:a\\:b\\\\c", Some("a:b\\c")),
            ("*:*:*:ada:a:b", Some("a:b")),
            ("\\*:*:*:*:star", None),
            ("#*:*:*:*:comment", None),
            ("other:*:*:*:x", None),
            ("*:5433:*:*:x", None),
            ("*:*:infra", None),
            ("", None),
        ] {
            let found = matched(line, &LOGIN);
            assert_eq!(found.as_ref().map(|found| found.as_str()), password, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pass");
        let environment = |name: &str| (name == "PGPASSFILE").then(|| path.display().to_string());
        let source = PasswordSource::of(&environment);
        assert!(source.find(&LOGIN).unwrap_err().contains("pass"));
        fs::write(&path, "x:*:*:*:wrong\n*:*:*:ada:right\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = source.find(&LOGIN).unwrap_err();
        assert!(
            refused.contains("chmod 600") && !refused.contains("right"),
            "{refused}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(source.find(&LOGIN).unwrap().unwrap().as_str(), "right");
        // The file changed: the next connection uses what is in it then.
        fs::write(&path, "*:*:*:*:newer").unwrap();
        assert_eq!(source.find(&LOGIN).unwrap().unwrap().as_str(), "newer");
    }

    #[test]
    fn the_environment_comes_first_and_a_home_without_a_file_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().display().to_string();
        let source = PasswordSource::of(&|name| match name {
            "PGPASSWORD" => Some("hunter2".to_owned()),
            "HOME" => Some(home.clone()),
            _ => None,
        });
        assert_eq!(source.find(&LOGIN).unwrap().unwrap().as_str(), "hunter2");
        assert!(!format!("{source:?}").contains("hunter2"));
        let source = PasswordSource::of(&|name| (name == "HOME").then(|| home.clone()));
        assert!(source.find(&LOGIN).unwrap().is_none());
        assert!(PasswordSource::of(&|_| None).find(&LOGIN).unwrap().is_none());
    }
}
