//! Writes that are complete or absent after a crash.
//!
//! Owns the one way this crate puts a file on disk: temporary sibling, fsync, rename, fsync of the directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Replaces `path` by a file with these bytes and permission bits; readers see the old or the new content, never a part.
///
/// When this returns, content and name survive a power loss. Its errors name the path.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))?;
    let temporary = temporary_sibling(path);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // The error that matters is the write's; a temporary that cannot be removed either is only litter.
        let _ = fs::remove_file(&temporary);
        return Err(at(path, error));
    }
    sync_directory(parent)
}

/// Makes names created, renamed or removed in a directory survive a power loss.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| at(path, error))
}

/// Creates a directory and its missing parents, all closed to other users, and makes their names durable.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut rounds = 0;
    loop {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => return parent.map_or(Ok(()), sync_directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
            // Its parent may also be removed as empty by somebody who is done with it, just after it was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && rounds < 10 => {
                rounds += 1;
                create_private_directory(parent.ok_or(error)?)?;
            }
            Err(error) => return Err(at(path, error)),
        }
    }
}

/// Makes a removal durable, unless somebody else has removed the directory as well by now: then it is as gone as can be.
fn sync_if_there(path: &Path) -> io::Result<()> {
    match sync_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// Removes a directory if nothing is in it.
pub(crate) fn remove_if_empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_if_there),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(at(path, error)),
    }
}

/// Removes a directory with all it holds; one that is not there is fine.
///
/// A file that another process adds meanwhile is removed as well, within a bounded number of rounds.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let mut rounds = 0;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => {
                return path.parent().map_or(Ok(()), sync_if_there);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && rounds < 20 => rounds += 1,
            Err(error) => return Err(at(path, error)),
        }
    }
}

/// Opens a file that is only there to be locked, closed to other users; its errors name the path.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| at(path, error))
}

/// Reads a file that may be absent.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

/// Puts the path in front of an error's words.
pub(crate) fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn temporary_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{serial}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn content_is_replaced_with_the_asked_mode_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("sub");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), "").unwrap();
        let error = write_atomic(&target, b"", 0o600).unwrap_err();
        assert!(error.to_string().contains("sub"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
