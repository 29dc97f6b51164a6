//! Where a project's files are in the repository that a CI service has checked out.

use std::path::{Component, Path, PathBuf};

/// What stands before the path of a project's file, so that it counts from the top of the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RepositoryPath(String);

impl RepositoryPath {
    /// Works it out for a project directory as it was given; `workspace` is the absolute path of the checkout, where the
    /// CI service says so.
    ///
    /// Without one, or outside of it, the current directory counts as the top.
    pub(crate) fn new(directory: &Path, workspace: Option<&str>) -> Self {
        let absolute = std::path::absolute(directory).map(|path| without_dots(&path));
        let inside = match (&absolute, workspace) {
            (Ok(path), Some(workspace)) => path.strip_prefix(without_dots(Path::new(workspace))).ok(),
            _ => None,
        };
        let inside = inside.map_or_else(|| without_dots(directory), Path::to_owned);
        let mut prefix = inside.to_string_lossy().into_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self(prefix)
    }

    /// Returns the path of a project's file.
    pub(crate) fn of(&self, file: &str) -> String {
        if Path::new(file).is_absolute() {
            return file.to_owned();
        }
        format!("{}{file}", self.0)
    }
}

/// Returns a path without `.`, and without what `..` takes back.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_top_of_the_repository() {
        let of =
            |directory: &str, workspace| RepositoryPath::new(Path::new(directory), workspace).of("a.yml");
        assert_eq!(of(".", None), "a.yml");
        assert_eq!(of("deploy/prod/", None), "deploy/prod/a.yml");
        assert_eq!(of("./deploy/../prod", None), "prod/a.yml");
        assert_eq!(of("/repo/deploy", Some("/repo")), "deploy/a.yml");
        assert_eq!(of("/repo/x/../deploy", Some("/repo/")), "deploy/a.yml");
        assert_eq!(of("/repo", Some("/repo")), "a.yml");
        assert_eq!(of("/elsewhere", Some("/repo")), "/elsewhere/a.yml");
        let top = RepositoryPath::new(Path::new("deploy"), None);
        assert_eq!(top.of("/tmp/values.yml"), "/tmp/values.yml");
    }
}
