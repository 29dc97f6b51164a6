//! Changing `gabion.yml` where people have written it: one key at a time, every comment kept.

use std::io::Write;
use std::path::{Path, PathBuf};

use gabion_engine::address::Lineage;
use gabion_engine::config::{Node, NodeKind, parse_yaml};
use gabion_engine::diagnostic::SourceFile;
use serde_json::Value;

use super::{Kept, StoreUrl};
use crate::failure::Failure;
use crate::project::LoadedProject;

/// The settings file of a project, being changed.
pub(crate) struct SettingsFile {
    path: PathBuf,
    before: String,
    text: String,
    /// What is changed, as the keys should read afterwards.
    wanted: Vec<(&'static str, String)>,
}

impl SettingsFile {
    /// Reads the settings file of a project; one that is not there yet is made.
    pub(crate) fn of(project: &LoadedProject) -> Result<Self, Failure> {
        let directory = project.directory()?;
        let name = project
            .project
            .sources
            .settings()
            .map_or("gabion.yml", |file| file.path());
        // A link stays one.
        let path = directory.join(name);
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unwritable(&path, &error)),
        };
        Ok(Self {
            path,
            before: text.clone(),
            text,
            wanted: Vec::new(),
        })
    }

    /// Sets the store.
    pub(crate) fn set_store(&mut self, url: &StoreUrl, kept: &Kept) {
        let block = url.to_yaml(kept);
        self.text = with_key(&self.text, "state", &block);
        self.wanted.push(("state", block));
    }

    /// Pins the lineage of a stack's store.
    pub(crate) fn pin(&mut self, stack: Option<&str>, lineage: Lineage) {
        match stack {
            None => {
                let block = format!("lineage: {lineage}\n");
                self.text = with_key(&self.text, "lineage", &block);
                self.wanted.push(("lineage", block));
            }
            Some(stack) => {
                self.text = with_stack(&self.text, stack, lineage);
                self.wanted
                    .push(("stacks", format!("stacks:\n  {stack}:\n    lineage: {lineage}\n")));
            }
        }
    }

    /// Writes the file, all or nothing, after checking that it says what it should and nothing else has changed.
    /// Returns whether anything was written.
    pub(crate) fn write(&self) -> Result<bool, Failure> {
        if self.text == self.before {
            return Ok(false);
        }
        self.check()?;
        let write = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(self.text.as_bytes())?;
            match std::fs::metadata(&self.path) {
                Ok(metadata) => file.as_file().set_permissions(metadata.permissions())?,
                Err(_) => {
                    use std::os::unix::fs::PermissionsExt;
                    file.as_file()
                        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
                }
            }
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            std::fs::File::open(directory)?.sync_all()
        };
        write().map_err(|error| unwritable(&self.path, &error))?;
        Ok(true)
    }

    fn check(&self) -> Result<(), Failure> {
        let (before, after) = (read(&self.before), read(&self.text));
        let fits = match (&before, &after) {
            (Some(before), Some(after)) => {
                let keys = |map: &serde_json::Map<String, Value>| -> Vec<String> {
                    map.keys()
                        .filter(|key| !self.wanted.iter().any(|(wanted, _)| wanted == key))
                        .cloned()
                        .collect()
                };
                let same =
                    keys(before) == keys(after) && keys(before).iter().all(|key| before[key] == after[key]);
                same && self.wanted.iter().all(|(key, block)| {
                    read(block)
                        .is_some_and(|block| after.get(*key).is_some_and(|after| holds(after, &block[*key])))
                })
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let blocks: Vec<&str> = self.wanted.iter().map(|(_, block)| block.trim_end()).collect();
        Err(Failure::new("the settings cannot be changed for you")
            .detail(format!(
                "{} is written in a way that gabion does not change by itself; nothing was written to it.",
                self.path.display()
            ))
            .hint(format!("write this into it yourself:\n{}", blocks.join("\n"))))
    }
}

/// Returns whether a value has everything that another one has.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| value.get(key).is_some_and(|value| holds(value, wanted))),
        _ => value == wanted,
    }
}

/// Returns what a settings file says, without places; nothing when it has errors.
fn read(text: &str) -> Option<serde_json::Map<String, Value>> {
    let file = SourceFile::new("gabion.yml", text);
    let (documents, problems) = parse_yaml(&file);
    if problems.has_errors() || documents.len() > 1 {
        return None;
    }
    match documents.first().map(plain) {
        None | Some(Value::Null) => Some(serde_json::Map::new()),
        Some(Value::Object(map)) => Some(map),
        Some(_) => None,
    }
}

fn plain(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => (*value).into(),
        NodeKind::Int(value) => (*value).into(),
        NodeKind::Float(value) => (*value).into(),
        NodeKind::String(text) => text.as_str().into(),
        NodeKind::List(items) => items.iter().map(plain).collect(),
        NodeKind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.name.clone(), plain(value)))
                .collect(),
        ),
    }
}

/// Returns a text with a top-level key that reads as the block, in its place or at the end.
fn with_key(text: &str, key: &str, block: &str) -> String {
    match extent(text, 0, text.len(), 0, key) {
        Some((start, end)) => format!("{}{block}{}", &text[..start], &text[end..]),
        None => appended(text, block),
    }
}

/// Returns a text with a stack's lineage pinned.
fn with_stack(text: &str, stack: &str, lineage: Lineage) -> String {
    let Some((start, end)) = extent(text, 0, text.len(), 0, "stacks") else {
        return appended(text, &format!("stacks:\n  {stack}:\n    lineage: {lineage}\n"));
    };
    let inside = text[start..end].find('\n').map_or(end, |line| start + line + 1);
    let indent = indent_of(&text[inside..end]).unwrap_or(2);
    let pad = " ".repeat(indent);
    let Some((first, last)) = extent(text, inside, end, indent, stack) else {
        let block = format!("{pad}{stack}:\n{pad}  lineage: {lineage}\n");
        return format!("{}{block}{}", &text[..end], &text[end..]);
    };
    let body = text[first..last].find('\n').map_or(last, |line| first + line + 1);
    let deeper = indent_of(&text[body..last]).unwrap_or(indent + 2);
    let line = format!("{}lineage: {lineage}\n", " ".repeat(deeper));
    match extent(text, body, last, deeper, "lineage") {
        Some((start, end)) => format!("{}{line}{}", &text[..start], &text[end..]),
        None => format!("{}{line}{}", &text[..body], &text[body..]),
    }
}

fn appended(text: &str, block: &str) -> String {
    // A document may end with a line of its own.
    let end = text
        .split_inclusive('\n')
        .scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line))
        })
        .find(|(_, line)| line.trim_end() == "...")
        .map_or(text.len(), |(start, _)| start);
    let (head, tail) = text.split_at(end);
    let gap = if head.is_empty() || head.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{head}{gap}{block}{tail}")
}

/// Returns how far the first entry is indented.
fn indent_of(text: &str) -> Option<usize> {
    text.lines()
        .find(|line| !is_beside(line))
        .map(|line| line.len() - line.trim_start().len())
}

/// Returns where a key's entry begins and ends, whole lines, among the lines of a range with this indentation. Comments
/// and empty lines after it belong to what follows.
fn extent(text: &str, from: usize, to: usize, indent: usize, key: &str) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    let mut at = from;
    for line in text[from..to].split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if is_beside(line) {
            continue;
        }
        // A closing bracket, or a list's item, goes on with the entry above.
        let begins = depth <= indent && !content.starts_with(['}', ']', '-']);
        match &mut found {
            Some(_) if begins => return found,
            Some((_, last)) => *last = end,
            None if begins && depth == indent && is_key(content, key) => found = Some((start, end)),
            None => {}
        }
    }
    found
}

fn is_beside(line: &str) -> bool {
    let content = line.trim();
    content.is_empty() || content.starts_with('#')
}

fn is_key(content: &str, key: &str) -> bool {
    let bare = content.strip_prefix(key);
    let quoted = ['"', '\''].iter().find_map(|quote| {
        content
            .strip_prefix(*quote)?
            .strip_prefix(key)?
            .strip_prefix(*quote)
    });
    bare.or(quoted)
        .is_some_and(|rest| rest.trim_start().starts_with(':'))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("the settings cannot be written").detail(format!("{}: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGE: &str = "0193e3a0-0000-7000-8000-000000000001";

    fn edited(before: &str, edit: impl Fn(&mut SettingsFile)) -> Result<String, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gabion.yml");
        std::fs::write(&path, before).unwrap();
        let mut file = SettingsFile {
            path: path.clone(),
            before: before.to_owned(),
            text: before.to_owned(),
            wanted: Vec::new(),
        };
        edit(&mut file);
        file.write()?;
        Ok(std::fs::read_to_string(path).unwrap())
    }

    fn pinned(before: &str, stack: Option<&str>) -> String {
        edited(before, |file| file.pin(stack, LINEAGE.parse().unwrap())).unwrap()
    }

    #[test]
    fn a_lineage_is_pinned_and_comments_stay() {
        let text = "# ours\nproject: chat # the name\n\nlineage: 0193e3a0-0000-7000-8000-000000000002 # old\n# after\nbackends: [local]\n";
        assert_eq!(
            pinned(text, None),
            format!("# ours\nproject: chat # the name\n\nlineage: {LINEAGE}\n# after\nbackends: [local]\n")
        );
        assert_eq!(pinned("", None), format!("lineage: {LINEAGE}\n"));
        assert_eq!(
            pinned("---\nproject: chat\n...\n", None),
            format!("---\nproject: chat\nlineage: {LINEAGE}\n...\n")
        );
        assert_eq!(
            pinned("project: chat", None),
            format!("project: chat\nlineage: {LINEAGE}\n")
        );
    }

    #[test]
    fn a_stack_is_pinned_beside_others() {
        let first = pinned("project: chat\n", Some("staging"));
        assert_eq!(
            first,
            format!("project: chat\nstacks:\n  staging:\n    lineage: {LINEAGE}\n")
        );
        let second = pinned(&format!("{first}backends: [local]\n"), Some("live"));
        assert_eq!(
            second,
            format!(
                "project: chat\nstacks:\n  staging:\n    lineage: {LINEAGE}\n  live:\n    lineage: {LINEAGE}\nbackends: [local]\n"
            )
        );
        assert_eq!(pinned(&second, Some("staging")), second);
    }

    #[test]
    fn a_store_takes_the_place_of_another() {
        let url = StoreUrl::new("s3://b", "s3").with("bucket", "b");
        let text = "state:\n  # shared\n  type: postgres\n  url: postgres://db/x\n\n# more\nproject: chat\n";
        assert_eq!(
            edited(text, |file| file.set_store(&url, &Kept::default())).unwrap(),
            "state:\n  type: s3\n  bucket: b\n\n# more\nproject: chat\n"
        );
        let text = "state: {\n  type: sqlite\n}\nproject: chat\n";
        assert_eq!(
            edited(text, |file| file.set_store(&url, &Kept::default())).unwrap(),
            "state:\n  type: s3\n  bucket: b\nproject: chat\n"
        );
    }

    #[test]
    fn what_cannot_be_changed_safely_is_left_alone() {
        let failure = edited("{project: chat}\n", |file| {
            file.pin(None, LINEAGE.parse().unwrap());
        })
        .unwrap_err();
        assert!(format!("{failure:?}").contains(LINEAGE));
        let stacks = "stacks: {staging: {}}\n";
        assert!(edited(stacks, |file| file.pin(Some("live"), LINEAGE.parse().unwrap())).is_err());
    }
}
