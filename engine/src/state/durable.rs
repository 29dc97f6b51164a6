//! Names that stay: a file that is on stable storage is lost all the same while its directory's entry is not.

use std::fs::{DirBuilder, File};
use std::io::Result;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory, and those above it that are missing, and puts their names on stable storage. Those that are made
/// have this mode.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    for made in missing {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent)?,
            _ => sync_directory(Path::new("."))?,
        }
    }
    Ok(())
}

/// Puts the names in a directory on stable storage.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_left() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        make_directory(&deep, 0o700).unwrap();
        assert!(deep.is_dir());
        make_directory(&deep, 0o700).unwrap();
        std::fs::write(root.path().join("file"), b"").unwrap();
        assert!(make_directory(&root.path().join("file/d"), 0o700).is_err());
    }
}
