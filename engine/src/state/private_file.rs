//! Files that hold a secret: they are read only when nobody but their user can read or exchange them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file is not taken for a secret. Nothing of its content is repeated.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Others may read or write the file.
    #[error("{} can be read or written by others (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not a file of the user who runs gabion.
    #[error("{} is {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// It holds more than a secret has.
    #[error("{} holds more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How many bytes it may have.
        limit: u64,
    },
    /// It cannot be read, or holds no text.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl PrivateFileError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Foreign { .. } => Some("name a file of your own".to_owned()),
            Self::TooLong { .. } => Some("name the file that holds the secret, and nothing else".to_owned()),
            Self::Io { .. } => None,
        }
    }
}

/// Reads a text of at most `limit` bytes from a file that is its user's alone; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is too long, belongs to somebody else, or may be read or written by others.
pub fn read_private_file(path: &Path, limit: u64) -> Result<Option<Zeroizing<String>>, PrivateFileError> {
    let io = |source| PrivateFileError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    // Asked of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(io)?;
    let foreign = |what| PrivateFileError::Foreign {
        path: path.to_owned(),
        what,
    };
    if !metadata.is_file() {
        return Err(foreign("not a file"));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(foreign("owned by another user"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(limit + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > limit {
        return Err(PrivateFileError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_file_that_is_its_users_alone_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(read_private_file(&path, 10).unwrap().is_none());
        std::fs::write(&path, "hunter2\n").unwrap();
        for mode in [0o644, 0o640, 0o620, 0o601] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = read_private_file(&path, 10).unwrap_err();
            assert_eq!(error.hint().unwrap(), format!("chmod 600 {}", path.display()));
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(
                read_private_file(&path, 8).unwrap().unwrap().as_str(),
                "hunter2\n"
            );
        }
        let error = read_private_file(&path, 7).unwrap_err();
        assert!(matches!(error, PrivateFileError::TooLong { limit: 7, .. }));
        assert!(!error.to_string().contains("hunter2"));
        let error = read_private_file(directory.path(), 10).unwrap_err();
        assert!(matches!(error, PrivateFileError::Foreign { .. }));
    }
}
