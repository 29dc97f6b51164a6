//! Git repositories: `path[:dest]`, `https://…[:dest]`, `git@…[:dest]`, or a map.

use std::fmt;

use gabion_engine::config::MapReader;
use gabion_engine::diagnostic::Diagnostic;

use super::path::parts;
use super::shorthand::shorthand;
use crate::term::{Line, excerpt, keyword, map_type};

keyword! {
    /// What to do when a repository's directory is not empty.
    pub enum IfExists: "what to do when the directory is there" {
        /// Ends the run.
        Error = "error",
        /// Leaves the directory as it is.
        Skip = "skip",
    }
}

map_type! {
    /// A repository to check out.
    pub struct Repo: "repository" {
        /// A checkout on the user's machine; a relative path starts at the document's directory.
        local_path: Option<String> = None,
        /// The address of a repository.
        url: Option<String> = None,
        /// The branch; by default the active one of a path, the default one of an address.
        branch: Option<String> = None,
        /// The commit.
        hash: Option<String> = None,
        /// Where it goes in the container; a relative path starts at the working directory.
        path: String = ".".to_owned(),
        /// What to do when that directory is not empty.
        if_exists: IfExists = IfExists::Error,
    }
    check Repo::check;
}

impl Repo {
    fn check(&self, map: &mut MapReader<'_>) {
        map.exclusive(&["local_path", "url"]);
        if let Err(why) = self.validate() {
            let place = map
                .get("path")
                .map_or_else(|| map.node().span.clone(), |node| node.span.clone());
            map.problems().push(
                Diagnostic::error(Self::CODE, Self::SUMMARY)
                    .detail(why)
                    .at(place)
                    .hint(Self::HINT),
            );
        }
    }

    fn validate(&self) -> Result<(), String> {
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if !is_set(&self.local_path) && !is_set(&self.url) {
            return Err("A repository needs a `local_path` or a `url`.".to_owned());
        }
        if self.path.starts_with('~') && self.path != "~" && !self.path.starts_with("~/") {
            return Err(format!(
                "`{}` names another user's home directory, which a container does not have.",
                excerpt(&self.path)
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.local_path.as_ref().or(self.url.as_ref());
        f.write_str(source.map_or("", String::as_str))?;
        if self.path == "." {
            Ok(())
        } else {
            write!(f, ":{}", self.path)
        }
    }
}

impl Line for Repo {
    const WHAT: &'static str = "a repository such as `https://github.com/org/repo` or `.:/repo`";
    const CODE: &'static str = "bad-repo";
    const SUMMARY: &'static str = "bad repository";
    const HINT: &'static str =
        "write a path or an address, and after a colon where it goes: `https://github.com/org/repo:/repo`";

    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = parts(text);
        let mut is_url = false;
        if let [first, second, ..] = parts.as_slice()
            && (first.contains('@') || second.starts_with("//"))
        {
            let joined = format!("{first}:{second}");
            parts.splice(0..2, [joined]);
            is_url = true;
        }
        let (source, path) = match parts.as_slice() {
            [source] => (source.clone(), ".".to_owned()),
            [source, path] => (source.clone(), path.clone()),
            _ => return Err(format!("`{}` has too many colons.", excerpt(text))),
        };
        let (local_path, url) = if is_url {
            (None, Some(source))
        } else {
            (Some(source), None)
        };
        let repo = Self {
            local_path,
            url,
            branch: None,
            hash: None,
            path,
            if_exists: IfExists::Error,
        };
        repo.validate().map(|()| repo)
    }
}

shorthand!(Repo);
