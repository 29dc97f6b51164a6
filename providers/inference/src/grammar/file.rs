//! Files to copy: `local[:container]`, or a map.

use std::fmt;

use gabion_engine::config::MapReader;
use gabion_engine::diagnostic::Diagnostic;

use super::path::{is_windows, parts};
use super::shorthand::shorthand;
use crate::term::{Line, excerpt, map_type};

map_type! {
    /// A file or directory of the user's machine, and where it goes in the container.
    pub struct FileMapping: "file" {
        /// The path on the user's machine; a relative one starts at the document's directory.
        local_path: String,
        /// The path in the container; a relative one starts at the working directory.
        path: String,
    }
    check FileMapping::check;
}

impl FileMapping {
    fn check(&self, map: &mut MapReader<'_>) {
        if is_windows(&self.path) {
            let place = map.get("path").map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error(Self::CODE, Self::SUMMARY)
                    .detail(format!("`{}` is no path of a container.", excerpt(&self.path)))
                    .at(place)
                    .hint("write a path with `/`"),
            );
        }
    }
}

impl fmt::Display for FileMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local_path == self.path {
            f.write_str(&self.path)
        } else {
            write!(f, "{}:{}", self.local_path, self.path)
        }
    }
}

impl Line for FileMapping {
    const WHAT: &'static str = "a file such as `./model.json` or `./model.json:/app/model.json`";
    const CODE: &'static str = "bad-file";
    const SUMMARY: &'static str = "bad file";
    const HINT: &'static str = "write `local/path`, or `local/path:/container/path`";

    fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text);
        let (local_path, path) = match parts.as_slice() {
            [both] => (both.clone(), both.clone()),
            [local, path] => (local.clone(), path.clone()),
            _ => return Err(format!("`{}` has more than one colon.", excerpt(text))),
        };
        if is_windows(&path) {
            return Err(format!("`{}` is no path of a container.", excerpt(&path)));
        }
        Ok(Self { local_path, path })
    }
}

shorthand!(FileMapping);
