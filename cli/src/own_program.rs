//! This program, for whoever runs it again as a process of its own.

use std::io;
use std::path::{Path, PathBuf};

/// What Linux adds to the path of a program whose file was deleted.
const DELETED: &str = " (deleted)";

/// Returns the path to run this program by. Where its file was replaced, as an upgrade does while this process runs, it is the
/// file that is there now.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe().map(in_place)
}

fn in_place(path: PathBuf) -> PathBuf {
    let replacement = || path.to_str()?.strip_suffix(DELETED);
    match replacement() {
        Some(there) if !path.exists() => Path::new(there).to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_run_by_its_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert_eq!(in_place(at("gabion (deleted)")), at("gabion"));
        assert_eq!(in_place(at("gabion")), at("gabion"));
        std::fs::write(at("gabion (deleted)"), "").unwrap();
        assert_eq!(in_place(at("gabion (deleted)")), at("gabion (deleted)"));
    }
}
