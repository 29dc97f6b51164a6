//! What README and docs show must be true: their projects load, their commands exist, their links lead somewhere.
//!
//! A YAML block's fence names its file (`yaml gateway.dstack.yml`); the blocks of one page are one project.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its pages has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A page of documentation.
struct Page {
    path: PathBuf,
    text: String,
}

/// A fenced block: the words after its fence, and its lines.
struct Block {
    info: String,
    text: String,
}

impl Page {
    /// Returns the page's fenced blocks, without the indentation of the list that they may be in.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, Block)> = None;
        for line in self.text.lines() {
            let indent = line.len() - line.trim_start().len();
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), None) => {
                    block.text.push_str(line.get(*indent..).unwrap_or(""));
                    block.text.push('\n');
                }
                (None, Some(info)) => {
                    let info = info.trim().to_owned();
                    open = Some((
                        indent,
                        Block {
                            info,
                            text: String::new(),
                        },
                    ));
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block has no end", self.path.display());
        blocks
    }

    /// Returns the page's text without its fenced blocks.
    fn prose(&self) -> String {
        let mut inside = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// Returns every `gabion …` command that the page shows, in console blocks and in code spans.
    fn commands(&self) -> Vec<String> {
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2).map(str::to_owned);
        let blocks = self.blocks();
        let lines = blocks
            .iter()
            .filter(|block| block.info == "console")
            .flat_map(|block| block.text.lines())
            .filter_map(|line| line.strip_prefix("$ "))
            .map(str::to_owned);
        lines
            .chain(spans)
            .filter(|command| command.starts_with("gabion "))
            .collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> Vec<Page> {
    let root = root();
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "examples/quickstart/README.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(read).collect()
}

fn gabion(home: &Path, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn projects_on_pages_are_valid() {
    let mut projects = 0;
    for page in pages() {
        let mut files = BTreeMap::new();
        for block in page.blocks() {
            let Some(name) = block.info.strip_prefix("yaml") else {
                continue;
            };
            let name = name.trim().to_owned();
            assert!(
                !name.is_empty(),
                "{}: a block names no file:\n{}",
                page.path.display(),
                block.text
            );
            let twice = files.insert(name.clone(), block.text);
            assert!(twice.is_none(), "{}: {name} is there twice", page.path.display());
        }
        if files.is_empty() {
            continue;
        }
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("project");
        std::fs::create_dir(&directory).unwrap();
        for (name, text) in &files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let output = gabion(home.path(), &directory, &["validate"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}:\n{}",
            page.path.display(),
            said(&output)
        );
        projects += 1;
    }
    assert!(projects >= 4, "only {projects} pages show a project");
}

#[test]
fn commands_on_pages_exist() {
    let home = tempfile::tempdir().unwrap();
    let mut unknown = Vec::new();
    let mut commands = 0;
    for page in pages() {
        for command in page.commands() {
            commands += 1;
            // A wrong command or flag is an error before `--help` ends the run.
            let mut arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
            arguments.push("--help");
            let output = gabion(home.path(), home.path(), &arguments);
            if !output.status.success() {
                unknown.push(format!("{}: `{command}`\n{}", page.path.display(), said(&output)));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(commands > 20, "only {commands} commands were found");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let prose = page.prose();
        for target in prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let directory = page.path.parent().unwrap();
            let path = if file.is_empty() {
                page.path.clone()
            } else {
                directory.join(file)
            };
            let found = if fragment.is_empty() {
                path.exists()
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                text.lines().any(|line| anchor(line) == fragment)
            };
            if !found {
                broken.push(format!("{}: {target}", page.path.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

/// Returns the anchor of a heading, as code hosts make it; nothing for any other line.
fn anchor(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#') else {
        return String::new();
    };
    let slug = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(slug)
        .collect()
}
