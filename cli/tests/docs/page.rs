//! A page of documentation, and what is on it.

use std::path::{Path, PathBuf};

/// A page of documentation.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block: the words after its fence, and its lines.
pub(crate) struct Block {
    pub(crate) info: String,
    pub(crate) text: String,
}

/// Where a page's commands run when it shows no project of its own.
pub(crate) struct Stage {
    /// The example that they run in a copy of.
    pub(crate) example: String,
    /// What was run there before, not shown.
    pub(crate) before: String,
}

impl Page {
    /// Returns the page's path below the top of the repository, for messages.
    pub(crate) fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).unwrap_or(&self.path);
        path.display().to_string()
    }

    /// Returns the page's fenced blocks, without the indentation of the list that they may be in.
    pub(crate) fn blocks(&self) -> Vec<Block> {
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
        assert!(open.is_none(), "{}: a block has no end", self.name());
        blocks
    }

    /// Returns the files of the project that the page shows: its YAML blocks, whose fences name them.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = Vec::new();
        for block in self.blocks() {
            let Some(name) = block.info.strip_prefix("yaml") else {
                continue;
            };
            let name = name.trim().to_owned();
            // A workflow is a file of another program.
            if name.starts_with(".github/") {
                continue;
            }
            assert!(
                !name.is_empty(),
                "{}: a block names no file:\n{}",
                self.name(),
                block.text
            );
            assert!(
                files.iter().all(|(other, _)| *other != name),
                "{}: {name} is there twice",
                self.name()
            );
            files.push((name, block.text));
        }
        files
    }

    /// Returns the shell commands of the page's workflows, in order, each with the job's name.
    pub(crate) fn workflow_steps(&self) -> Vec<(String, String)> {
        let blocks = self.blocks().into_iter();
        let workflows = blocks.filter(|block| block.info.starts_with("yaml .github/"));
        let mut steps = Vec::new();
        for workflow in workflows {
            let workflow: serde_yaml::Value = serde_yaml::from_str(&workflow.text).unwrap();
            for (name, job) in workflow["jobs"].as_mapping().unwrap() {
                let runs = job["steps"].as_sequence().unwrap().iter();
                let runs = runs.filter_map(|step| step.get("run")?.as_str());
                steps.extend(runs.map(|run| (name.as_str().unwrap().to_owned(), run.to_owned())));
            }
        }
        steps
    }

    /// Returns the page's text without its fenced blocks.
    pub(crate) fn prose(&self) -> String {
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

    /// Returns every `gabion …` command that the page shows, in blocks of any kind and in code spans.
    pub(crate) fn commands(&self) -> Vec<String> {
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2).map(str::to_owned);
        let blocks = self.blocks();
        let lines = blocks
            .iter()
            .filter(|block| ["console", "text"].contains(&block.info.as_str()))
            .flat_map(|block| block.text.lines())
            .filter_map(|line| line.strip_prefix("$ "))
            .map(str::to_owned);
        lines
            .chain(spans)
            .filter(|command| command.starts_with("gabion "))
            .map(|command| match command.split_once(" #") {
                Some((command, _)) => command.to_owned(),
                None => command,
            })
            .collect()
    }

    /// Reads `<!-- Run in a copy of EXAMPLE, after: COMMANDS -->`.
    pub(crate) fn stage(&self) -> Option<Stage> {
        let line = self
            .text
            .lines()
            .find_map(|line| line.strip_prefix("<!-- Run in a copy of "))?;
        let (example, before) = line.strip_suffix(" -->")?.split_once(", after: ")?;
        Some(Stage {
            example: example.to_owned(),
            before: before.to_owned(),
        })
    }
}

/// Returns the top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every page.
pub(crate) fn pages() -> Vec<Page> {
    let root = root();
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "examples/prefill-decode/README.md",
        "examples/quickstart/README.md",
    ]
    .iter()
    .map(|name| root.join(name))
    .collect();
    for directory in ["docs", "docs/reference"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(read).collect()
}
