//! `files`: what a document copies beside its program.
//!
//! The contents are part of the configuration, as if they were written in the document: a plan shows how they changed,
//! and a changed file replaces the program. That is meant for scripts and settings, not for models: there are bounds.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use gabion_engine::config::{Node, Root};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::value::Value;

use super::backend::LOCAL;
use super::builder::ResourceBuilder;
use super::project::Context;
use super::run_keys::unsupported;
use crate::document::run::RunFields;
use crate::grammar::file::FileMapping;

/// The most bytes of one file, of all files of a run, and the most files.
const MOST_OF_ONE: u64 = 128 << 10;
const MOST_OF_ALL: usize = 512 << 10;
const MOST_FILES: usize = 200;

/// Where the copies are, seen from a unit; the working directory of a run that has some.
pub(super) const DIRECTORY: &str = "{unit.dir}/files";

/// Files by the path that they have beside the program.
pub(super) type Files = BTreeMap<String, String>;

/// Reads the files of a run; `node` is its document, for places. Relative paths start at the project's directory.
///
/// On the machine that runs gabion (`is_here`) a file that is to have the path that it has is there already, and is not
/// copied.
pub(super) fn read(
    run: &RunFields,
    node: &Node,
    is_here: bool,
    context: &Context,
    problems: &mut Diagnostics,
) -> Files {
    let mut files = Files::new();
    let directory = &context.project_directory;
    let Some((key, list)) = node.entry("files").filter(|_| !run.files.is_empty()) else {
        return files;
    };
    let items = list.as_list().unwrap_or_default();
    for (index, mapping) in run.files.iter().enumerate() {
        let place = items.get(index).map_or(&key.span, |item| &item.span);
        if is_here && is_there_already(mapping) {
            continue;
        }
        let found = match inner_path(&mapping.path) {
            Some(inner) => collect(
                &Path::new(directory).join(&mapping.local_path),
                &inner,
                context.root.as_ref(),
                &mut files,
            ),
            None => {
                problems.push(unsupported(
                    place,
                    format!(
                        "`{}` is outside the program's own directory, and gabion writes nowhere else on a machine.",
                        mapping.path
                    ),
                    "give it a relative path, which starts at the working directory: `local/file:file`",
                ));
                continue;
            }
        };
        if let Err(why) = found {
            problems.push(
                Diagnostic::error("unusable-file", "file that cannot be copied")
                    .detail(why)
                    .at(place.clone())
                    .hint("copy scripts and settings this way; put models and data where they are to be, and use their absolute paths"),
            );
        }
    }
    if !files.is_empty() && !run.repos.is_empty() {
        problems.push(unsupported(
            &key.span,
            format!(
                "With `repos` a program starts in the project's directory, into which backend `{LOCAL}` copies nothing."
            ),
            "remove `files`: what is in the project's directory is there already; or remove `repos`, and list all that is needed",
        ));
    }
    if let Some(own) = run.working_dir.as_ref().filter(|_| !files.is_empty()) {
        problems.push(
            unsupported(
                &own.span,
                format!(
                    "`files` with relative paths go into the working directory, and gabion does not write into `{}`, which is a directory of the machine or of the image.",
                    own.value
                ),
                "remove `working_dir`: the program then starts in a directory that has its files",
            )
            .related(key.span.clone(), "the files"),
        );
    }
    files
}

/// Gives a program in a container or on a machine of a fleet its files, and the directory that it starts in: the image's own
/// or the unit's, unless there are files.
pub(super) fn place(
    run: &RunFields,
    node: &Node,
    files: &Files,
    mut builder: ResourceBuilder,
) -> ResourceBuilder {
    if !files.is_empty() {
        builder = builder.input("files", value(files));
        if let Some((key, _)) = node.entry("files") {
            builder = builder.at("files", &key.span);
        }
    }
    match &run.working_dir {
        Some(directory) => builder
            .input("working_dir", directory.value.as_str())
            .at("working_dir", &directory.span),
        None if files.is_empty() => builder,
        None => builder.input("working_dir", DIRECTORY),
    }
}

/// Returns files as an attribute has them.
pub(super) fn value(files: &Files) -> Value {
    Value::map(
        files
            .iter()
            .map(|(path, content)| (path, Value::from(content.as_str()))),
    )
}

fn is_there_already(mapping: &FileMapping) -> bool {
    mapping.path == mapping.local_path && Path::new(&mapping.path).is_absolute()
}

/// Returns a path below the working directory without `.` in it; `None` when it leads elsewhere.
fn inner_path(path: &str) -> Option<PathBuf> {
    if path.starts_with('~') {
        return None;
    }
    let mut inner = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => inner.push(name),
            _ => return None,
        }
    }
    Some(inner)
}

/// Reads a file, or a directory with all it holds.
fn collect(source: &Path, target: &Path, root: Option<&Root>, files: &mut Files) -> Result<(), String> {
    let shown = source.display();
    if let Some(Err(why)) = root.map(|root| root.check(source)) {
        return Err(format!("`{shown}` {why}."));
    }
    let metadata =
        fs::symlink_metadata(source).map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
    if metadata.is_dir() {
        let mut names = Vec::new();
        let entries = fs::read_dir(source).map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
            names.push(entry.file_name());
        }
        names.sort();
        for name in names {
            collect(&source.join(&name), &target.join(&name), root, files)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(format!("`{shown}` is neither a file nor a directory."));
    }
    let (Some(path), false) = (target.to_str(), target.as_os_str().is_empty()) else {
        return Err(format!("`{shown}` has no name as text beside the program."));
    };
    let mut content = Vec::new();
    fs::File::open(source)
        .and_then(|file| file.take(MOST_OF_ONE + 1).read_to_end(&mut content))
        .map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
    if content.len() as u64 > MOST_OF_ONE {
        return Err(format!("`{shown}` is larger than {} KB.", MOST_OF_ONE >> 10));
    }
    let text = String::from_utf8(content).map_err(|_| format!("`{shown}` is no text."))?;
    files.insert(path.to_owned(), text);
    if files.len() > MOST_FILES {
        return Err(format!("These are more than {MOST_FILES} files."));
    }
    if files.values().map(String::len).sum::<usize>() > MOST_OF_ALL {
        return Err(format!(
            "All files together are larger than {} KB.",
            MOST_OF_ALL >> 10
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_beside_the_program_are_told_from_others() {
        let cases = [
            ("a/b.json", Some("a/b.json")),
            ("./a/./b", Some("a/b")),
            (".", Some("")),
            ("../a", None),
            ("/etc/a", None),
            ("~/a", None),
        ];
        for (path, expected) in cases {
            assert_eq!(inner_path(path), expected.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn a_directory_is_read_with_all_it_holds_and_within_bounds() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("conf");
        fs::create_dir_all(source.join("inner")).unwrap();
        fs::write(source.join("a"), "one").unwrap();
        fs::write(source.join("inner/b"), "two").unwrap();
        let mut files = Files::new();
        collect(&source, Path::new("to"), None, &mut files).unwrap();
        let expected = [("to/a", "one"), ("to/inner/b", "two")];
        assert_eq!(
            files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str()))
                .collect::<Vec<_>>(),
            expected
        );
        fs::write(source.join("c"), vec![b'x'; 129 << 10]).unwrap();
        let why = collect(&source, Path::new(""), None, &mut Files::new()).unwrap_err();
        assert!(why.ends_with("is larger than 128 KB."), "{why}");
        fs::write(source.join("c"), [0xff]).unwrap();
        let why = collect(&source, Path::new(""), None, &mut Files::new()).unwrap_err();
        assert!(why.ends_with("is no text."), "{why}");
    }
}
