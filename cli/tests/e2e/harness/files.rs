//! Files: copies of projects, what is there, and where a text is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Copies the files of a directory, not those below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Returns every file and every empty directory below a directory, relative to it.
pub(crate) fn listing(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in walk(directory) {
        let relative = path
            .strip_prefix(directory)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let empty = path.is_dir() && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            found.insert(relative + "/");
        } else if !path.is_dir() {
            found.insert(relative);
        }
    }
    found
}

/// Returns the files below a directory that hold these bytes.
pub(crate) fn occurrences(directory: &Path, text: &str) -> Vec<PathBuf> {
    walk(directory)
        .into_iter()
        .filter(|path| path.is_file())
        .filter(|path| {
            let bytes = fs::read(path).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
        .collect()
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}
