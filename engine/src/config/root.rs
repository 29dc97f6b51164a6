//! The directory that paths must not lead out of, when whoever wrote them is not trusted.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// What must not be read although it is below the root: it holds credentials, or state.
const PRIVATE: [&str; 2] = [".git", ".gabion"];

/// The directory that paths must not lead out of: the checkout that a project is in, without its `.git`.
///
/// A path is followed through every link before it is believed. Of what lies outside nothing is said, not even whether it
/// is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// Returns the root of the checkout that a directory is in; without one, the directory itself.
    ///
    /// # Errors
    /// When the directory cannot be found.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let directory = fs::canonicalize(directory)?;
        let checkout = directory.ancestors().find(|above| above.join(".git").exists());
        Ok(Self(checkout.unwrap_or(&directory).to_owned()))
    }

    /// Checks that a path leads to nothing outside.
    ///
    /// # Errors
    /// Why it does, as the end of a sentence that begins with the path.
    pub fn check(&self, path: &Path) -> Result<(), &'static str> {
        const OUTSIDE: &str = "leads out of the checkout, and whoever wrote this is not trusted";
        const HIDDEN: &str =
            "is where the checkout keeps what is nobody else's, and whoever wrote this is not trusted";
        let below = |path: &Path| -> Result<PathBuf, &'static str> {
            let below = path.strip_prefix(&self.0).map_err(|_| OUTSIDE)?;
            let mut names = below.components();
            match names.any(|name| PRIVATE.iter().any(|private| name.as_os_str() == *private)) {
                true => Err(HIDDEN),
                false => Ok(below.to_owned()),
            }
        };
        let inside = below(&normal(path))?;
        // What is not there yet leads nowhere, but the directories above it might.
        let mut there = self.0.join(inside);
        loop {
            match fs::canonicalize(&there) {
                Ok(found) => return below(&found).map(drop),
                // A link whose target is missing: what it names is no business of whoever wrote it.
                Err(_) if there.is_symlink() => return Err(OUTSIDE),
                Err(_) if there.pop() && there.starts_with(&self.0) => {}
                Err(_) => return Err(OUTSIDE),
            }
        }
    }
}

/// Returns an absolute path without `.` and `..`, as it is written.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_the_checkout() {
        let outer = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(outer.path()).unwrap();
        let project = top.join("checkout/infra");
        fs::create_dir_all(project.join("data")).unwrap();
        fs::create_dir(top.join("checkout/.git")).unwrap();
        fs::write(top.join("checkout/.git/config"), "token").unwrap();
        fs::write(top.join("secret"), "x").unwrap();
        fs::write(project.join("data/a"), "x").unwrap();
        for (link, target) in [
            ("out", "../../secret"),
            ("up", "../.."),
            ("git", "../.git"),
            ("gone", "/nowhere/at/all"),
            ("fine", "data/a"),
        ] {
            symlink(target, project.join(link)).unwrap();
        }
        let root = Root::of(&project).unwrap();
        for path in ["data/a", "fine", "../other", "data/../data/new", "."] {
            assert_eq!(root.check(&project.join(path)), Ok(()), "{path}");
        }
        for path in [
            "/etc/passwd",
            "../../secret",
            "../../not-there",
            "out",
            "up/secret",
            "up/not-there",
            "git/config",
            "gone",
            "../.git/config",
            "data/../../.git/config",
            ".gabion/state.db",
        ] {
            assert!(root.check(&project.join(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_directory_that_is_no_checkout_is_its_own_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::of(directory.path()).unwrap();
        let directory = fs::canonicalize(directory.path()).unwrap();
        assert_eq!(root.check(&directory.join("a")), Ok(()));
        assert!(root.check(&directory.join("../a")).is_err());
    }
}
