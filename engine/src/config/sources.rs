//! Which files make a project, and reading them. The only I/O of `config`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::modules::{self, MODULE, MODULE_FILES};
use super::node::Node;
use super::root::Root;
use super::settings::check_name;
use super::yaml::{self, MAX_FILE_BYTES};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};
use crate::resource::Place;

/// The names of the settings file.
const SETTINGS: [&str; 2] = ["gabion.yml", "gabion.yaml"];
/// How the names of files with documents end; `.dstack.yml` alone is one too.
const ENDINGS: [&str; 4] = [".gabion.yml", ".gabion.yaml", ".dstack.yml", ".dstack.yaml"];

/// Where profiles are: what documents have in common, for the families that know them.
const PROFILES: [&str; 4] = [
    "profiles.yml",
    "profiles.yaml",
    ".dstack/profiles.yml",
    ".dstack/profiles.yaml",
];

/// The texts of a project's files.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// The project directory; empty when the texts come from elsewhere.
    directory: PathBuf,
    /// What nothing may lead out of, when whoever wrote the files is not trusted.
    root: Option<Root>,
    /// The project's name unless the settings say another.
    default_name: String,
    /// The settings file.
    settings: Option<Arc<SourceFile>>,
    /// The profiles.
    profiles: Option<Arc<SourceFile>>,
    /// The files with documents, by path.
    files: BTreeMap<String, Arc<SourceFile>>,
    /// The files of the modules that the project uses, by path.
    modules: BTreeMap<String, Arc<SourceFile>>,
    /// Texts from elsewhere that values came from, by what they are called.
    origins: BTreeMap<String, Arc<SourceFile>>,
}

impl Default for Sources {
    fn default() -> Self {
        Self::from_texts("project", std::iter::empty::<(&str, &str)>())
    }
}

impl Sources {
    /// Reads the files of a project directory, not of its subdirectories.
    pub fn load(directory: &Path) -> (Self, Diagnostics) {
        Self::load_within(directory, None)
    }

    /// Reads files that somebody wrote who is not trusted: none is read that leads out of the root, and whatever a
    /// project of these files names has to stay in it too.
    pub fn load_untrusted(directory: &Path) -> (Self, Diagnostics) {
        // Without a directory there is nothing to read.
        match Root::of(directory) {
            Ok(root) => Self::load_within(directory, Some(root)),
            Err(_) => Self::load_within(directory, None),
        }
    }

    fn load_within(directory: &Path, root: Option<Root>) -> (Self, Diagnostics) {
        let mut problems = Diagnostics::new();
        let mut sources = Self::from_texts(&default_name(directory), std::iter::empty::<(&str, &str)>());
        sources.root = root;
        let names = match fs::canonicalize(directory).and_then(|found| {
            sources.directory = found;
            list(directory)
        }) {
            Ok(names) => names,
            Err(error) => {
                let hint = "name the project directory: `gabion -C DIR …`";
                problems.push(
                    Diagnostic::error("unreadable-directory", "cannot read the project directory")
                        .detail(format!("`{}`: {error}.", directory.display()))
                        .hint(hint),
                );
                return (sources, problems);
            }
        };
        sources.default_name = default_name(&sources.directory);
        for name in names
            .iter()
            .filter(|name| is_settings(name) || is_documents(name))
        {
            if let Some(file) = sources.read(name, &mut problems) {
                sources.add(file, &mut problems);
            }
        }
        for name in PROFILES.iter().filter(|name| directory.join(name).is_file()) {
            if let Some(file) = sources.read(name, &mut problems) {
                sources.add(file, &mut problems);
            }
        }
        let any = names.iter().any(|name| is_settings(name) || is_documents(name));
        if !any {
            problems.push(empty(directory, &names));
        }
        sources.load_modules(&mut problems);
        (sources, problems)
    }

    /// Reads the file with what holds for one stack alone, `gabion.STACK.yml`, if there is one.
    pub fn stack_file(&self, stack: &str, problems: &mut Diagnostics) -> Option<Arc<SourceFile>> {
        let names = [format!("gabion.{stack}.yml"), format!("gabion.{stack}.yaml")];
        let name = names.iter().find(|name| self.directory.join(name).exists())?;
        self.read(name, problems)
    }

    /// Reads one of the project's files, unless it leads out of the root.
    fn read(&self, name: &str, problems: &mut Diagnostics) -> Option<Arc<SourceFile>> {
        if let Some(root) = &self.root
            && let Err(why) = root.check(&self.directory.join(name))
        {
            problems.push(
                Diagnostic::error("path-outside", "path that leads outside")
                    .detail(format!("`{name}` {why}."))
                    .at(Span::of_file(&SourceFile::new(name, "")))
                    .hint("put the file itself there, not a link"),
            );
            return None;
        }
        read(&self.directory, name, problems)
    }

    /// Returns what nothing may lead out of, when whoever wrote the files is not trusted.
    pub fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// Makes the sources of a project from texts by path, for callers that have no directory.
    pub fn from_texts<P: AsRef<str>, T: AsRef<str>>(
        default_name: &str,
        texts: impl IntoIterator<Item = (P, T)>,
    ) -> Self {
        let mut sources = Self {
            directory: PathBuf::new(),
            root: None,
            default_name: default_name.to_owned(),
            settings: None,
            profiles: None,
            files: BTreeMap::new(),
            modules: BTreeMap::new(),
            origins: BTreeMap::new(),
        };
        for (path, text) in texts {
            sources.add(
                SourceFile::new(path.as_ref(), text.as_ref()),
                &mut Diagnostics::new(),
            );
        }
        sources
    }

    /// Reads the directories of the modules that the files use, and of those that these use.
    fn load_modules(&mut self, problems: &mut Diagnostics) {
        let mut left: Vec<(String, Arc<SourceFile>)> = self
            .files
            .values()
            .map(|file| (String::new(), file.clone()))
            .collect();
        let mut seen = BTreeSet::new();
        while let Some((within, file)) = left.pop() {
            for directory in used_directories(&within, &file) {
                if !seen.insert(directory.clone()) {
                    continue;
                }
                // One that leads outside is reported where it is named.
                let leads_out = |root: &Root| root.check(&self.directory.join(&directory)).is_err();
                if self.root.as_ref().is_some_and(leads_out) {
                    continue;
                }
                // One that is not there is reported where it is named.
                for name in list(&self.directory.join(&directory)).unwrap_or_default() {
                    if !is_documents(&name) && !MODULE_FILES.contains(&name.as_str()) {
                        continue;
                    }
                    if let Some(found) = self.read(&format!("{directory}/{name}"), problems) {
                        left.push((directory.clone(), found.clone()));
                        self.modules.insert(found.path().to_owned(), found);
                    }
                }
            }
        }
    }

    /// Returns the files of a module's directory, which is given from the project's.
    pub(super) fn module(&self, directory: &str) -> Vec<&Arc<SourceFile>> {
        let within = |file: &&Arc<SourceFile>| {
            file.path()
                .rsplit_once('/')
                .is_some_and(|(found, _)| found == directory)
        };
        self.modules.values().filter(within).collect()
    }

    fn add(&mut self, file: Arc<SourceFile>, problems: &mut Diagnostics) {
        if PROFILES.contains(&file.path()) {
            self.add_profiles(file, problems);
        } else if file.path().contains('/') {
            self.modules.insert(file.path().to_owned(), file);
        } else if !is_settings(file.path()) {
            self.files.insert(file.path().to_owned(), file);
        } else if let Some(first) = &self.settings {
            problems.push(
                Diagnostic::error("two-settings-files", "two settings files")
                    .detail(format!(
                        "The project has both `{}` and `{}`.",
                        first.path(),
                        file.path()
                    ))
                    .at(Span::of_file(&file))
                    .hint("keep one of them"),
            );
        } else {
            self.settings = Some(file);
        }
    }

    /// Adds a text from elsewhere, so that places in it can be shown.
    pub(super) fn add_origin(&mut self, file: &Arc<SourceFile>) {
        self.origins.insert(file.path().to_owned(), file.clone());
    }

    fn add_profiles(&mut self, file: Arc<SourceFile>, problems: &mut Diagnostics) {
        let Some(first) = &self.profiles else {
            self.profiles = Some(file);
            return;
        };
        problems.push(
            Diagnostic::error("two-profiles-files", "two files with profiles")
                .detail(format!(
                    "The project has both `{}` and `{}`.",
                    first.path(),
                    file.path()
                ))
                .at(Span::of_file(&file))
                .hint("keep one of them"),
        );
    }

    /// Puts a masked settings file in place of the one that was read.
    pub(super) fn replace_settings(&mut self, file: &Arc<SourceFile>) {
        self.settings = Some(file.clone());
    }

    /// Returns the project's directory, absolute; empty when the texts come from elsewhere.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the project's name unless the settings say another.
    pub fn default_name(&self) -> &str {
        &self.default_name
    }

    /// Returns the settings file, if there is one.
    pub fn settings(&self) -> Option<&Arc<SourceFile>> {
        self.settings.as_ref()
    }

    /// Returns the file with profiles, if there is one.
    pub fn profiles(&self) -> Option<&Arc<SourceFile>> {
        self.profiles.as_ref()
    }

    /// Returns the files with documents, by path.
    pub fn files(&self) -> impl Iterator<Item = &Arc<SourceFile>> {
        self.files.values()
    }

    /// Returns a file by its path.
    pub fn file(&self, path: &str) -> Option<&Arc<SourceFile>> {
        self.files
            .get(path)
            .or_else(|| {
                let mut shared = self.settings.iter().chain(&self.profiles);
                shared.find(|file| file.path() == path)
            })
            .or_else(|| self.modules.get(path))
            .or_else(|| self.origins.get(path))
    }

    /// Returns the span of a place in one of the files.
    pub fn span(&self, place: &Place) -> Option<Span> {
        self.file(&place.file).map(|file| Span::of_place(file, place))
    }

    /// Gives up the texts of the files with documents. There is no span of a place in them then, and the digest is
    /// another one.
    pub fn release_texts(&mut self) {
        self.files.clear();
        self.modules.clear();
    }

    /// Returns the SHA-256 of all files' paths and texts, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let files = self
            .settings
            .iter()
            .chain(&self.profiles)
            .chain(self.files.values());
        for file in files.chain(self.modules.values()) {
            for part in [file.path(), file.text()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hex::encode(hash.finalize())
    }

    /// Finds the file that `-f FILE` means; `file` is relative to the current directory of the process, or absolute.
    ///
    /// # Errors
    /// When it is no file with documents of this project, with the way out: a later run over the whole directory
    /// would plan the deletion of what it holds.
    pub fn select(&self, file: &Path) -> Result<String, Diagnostic> {
        let shown = file.display();
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let error = |detail: String, hint: String| {
            Diagnostic::error("file-outside-project", "file is not part of the project")
                .detail(detail)
                .hint(hint)
        };
        let parent = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let here = fs::canonicalize(parent);
        let inside = here.as_ref().is_ok_and(|parent| *parent == self.directory);
        if inside && self.files.contains_key(&name) {
            return Ok(name);
        }
        // `-C DIR -f NAME` is read as the file of that name in DIR when there is none here.
        if !file.exists() {
            if parent == Path::new(".") && self.files.contains_key(&name) {
                return Ok(name);
            }
            let near = crate::diagnostic::suggestion(&name, self.files.keys().map(String::as_str));
            let hint = near.unwrap_or_else(|| match self.files.is_empty() {
                true => "make a project with `gabion init`".to_owned(),
                false => format!("the project's files are {}", self.names()),
            });
            return Err(error(format!("There is no file `{shown}`."), hint));
        }
        if (is_settings(&name) || PROFILES.contains(&name.as_str())) && inside {
            let what = if is_settings(&name) {
                "settings"
            } else {
                "profiles"
            };
            let detail = format!("`{shown}` holds the project's {what} and no documents.");
            return Err(error(
                detail,
                format!("the files with documents are {}", self.names()),
            ));
        }
        if inside {
            let stem = name
                .strip_suffix(".yaml")
                .or(name.strip_suffix(".yml"))
                .unwrap_or(&name);
            return Err(error(
                format!(
                    "`{shown}` lies in the project directory, but only `*.gabion.yml` and `*.dstack.yml` belong to it: \
                     a later run over the whole directory would plan the deletion of what it holds."
                ),
                format!(
                    "mv {shown} {}",
                    file.with_file_name(format!("{stem}.gabion.yml")).display()
                ),
            ));
        }
        Err(error(
            format!(
                "`{shown}` is not in the project directory `{}`: a later run over the whole directory would plan the \
                 deletion of what it holds.",
                self.directory.display()
            ),
            format!("gabion -C {} -f {name} …", parent.display()),
        ))
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.files.keys().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

fn is_settings(name: &str) -> bool {
    SETTINGS.contains(&name)
}

fn is_documents(name: &str) -> bool {
    // Emacs keeps locks as `.#name`.
    ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.starts_with(".#")
}

/// The directories of the modules that a file uses, from the project's.
fn used_directories(within: &str, file: &Arc<SourceFile>) -> Vec<String> {
    // Reading a file twice is not worth it for the many that use none.
    if !file.text().contains(MODULE) {
        return Vec::new();
    }
    let (documents, _) = yaml::parse(file);
    let of_module = |node: &&Node| node.get("type").and_then(Node::as_str) == Some(MODULE);
    let sources = documents
        .iter()
        .filter(of_module)
        .filter_map(|node| node.get("source")?.as_str());
    sources
        .filter_map(|source| modules::join(within, source))
        .collect()
}

/// The names in a directory, sorted. Names that are no UTF-8 cannot be the project's.
fn list(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn read(directory: &Path, name: &str, problems: &mut Diagnostics) -> Option<Arc<SourceFile>> {
    let path = directory.join(name);
    let unreadable = |why: String| {
        Diagnostic::error("unreadable-file", "cannot read a file")
            .detail(format!("`{name}`: {why}."))
            .at(Span::of_file(&SourceFile::new(name, "")))
            .hint("make it readable, or rename it so that it is not part of the project")
    };
    let metadata = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(metadata) => metadata,
        Err(error) => {
            problems.push(unreadable(error.to_string()));
            return None;
        }
    };
    if !metadata.is_file() {
        problems.push(unreadable("it is no regular file".to_owned()));
        return None;
    }
    if metadata.len() > MAX_FILE_BYTES as u64 {
        problems.push(
            Diagnostic::error("file-too-large", "file too large")
                .detail(format!(
                    "`{name}` has {} bytes; up to {MAX_FILE_BYTES} are read.",
                    metadata.len()
                ))
                .at(Span::of_file(&SourceFile::new(name, "")))
                .hint("split the file; all files of the project directory are read"),
        );
        return None;
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(unreadable(error.to_string()));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(SourceFile::new(name, without_mark(&text))),
        Err(error) => {
            problems.push(not_utf8(name, &error));
            None
        }
    }
}

/// The text without a byte order mark, so that offsets count from its first character.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let valid = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
    let lossy = String::from_utf8_lossy(error.as_bytes());
    // Up to the bad byte the lossy text has the same bytes, so the place is exact.
    let file = SourceFile::new(name, &*lossy);
    let hint = match error.as_bytes() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this is UTF-16; save the file as UTF-8",
        _ => "save the file as UTF-8",
    };
    Diagnostic::error("not-utf-8", "file is not UTF-8")
        .detail(format!("The byte 0x{byte:02x} here is not UTF-8."))
        .at(Span::new(
            &file,
            valid,
            valid + char::REPLACEMENT_CHARACTER.len_utf8(),
        ))
        .hint(hint)
}

/// The error for a directory without any of the project's files.
fn empty(directory: &Path, names: &[String]) -> Diagnostic {
    let looks_like = |name: &&String| name.ends_with(".yml") || name.ends_with(".yaml");
    let subdirectory = names.iter().find(|name| {
        let within = list(&directory.join(name)).unwrap_or_default();
        within.iter().any(|name| is_settings(name) || is_documents(name))
    });
    let hint = if let Some(name) = names.iter().find(looks_like) {
        let stem = name
            .strip_suffix(".yaml")
            .or(name.strip_suffix(".yml"))
            .unwrap_or(name);
        format!(
            "rename the file if it is meant: `mv {name} {stem}.gabion.yml`; or make a new project: `gabion init`"
        )
    } else if let Some(name) = subdirectory {
        format!(
            "`{name}` is a project: `gabion -C {}`",
            directory.join(name).display()
        )
    } else {
        "make a new project: `gabion init`".to_owned()
    };
    Diagnostic::error("no-configuration", "no configuration")
        .detail(format!(
            "`{}` holds no `*.gabion.yml`, `*.dstack.yml` or `gabion.yml`.",
            directory.display()
        ))
        .hint(hint)
}

/// A project's name made from its directory's.
fn default_name(directory: &Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy());
    name_from(&name.unwrap_or_default())
}

/// Returns the name of a document that has none of its own: its file's, else the project's.
pub(super) fn name_of_file(path: &str, project: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending));
    match stem.unwrap_or(file) {
        "" => project.to_owned(),
        stem => name_from(stem),
    }
}

/// Makes a name of a text: what cannot be in one becomes `-`.
fn name_from(text: &str) -> String {
    let name = text.to_lowercase();
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    if !slug.starts_with(|first: char| first.is_ascii_lowercase()) {
        slug.insert_str(0, "project-");
    }
    slug.truncate(41);
    let slug = slug.trim_end_matches('-');
    if check_name(slug).is_ok() {
        slug.to_owned()
    } else {
        "project".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_its_project() {
        let check =
            |directory: &str, name: &str| assert_eq!(default_name(Path::new(directory)), name, "{directory}");
        check("/srv/Qwen Chat_2", "qwen-chat-2");
        check("/srv/2024", "project-2024");
        check("/", "project");
        check("/srv/é", "project");
        check(&format!("/srv/{}-x", "a".repeat(40)), &"a".repeat(40));
    }
}
