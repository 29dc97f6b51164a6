//! A project between its settings and its documents: who only needs the settings can begin meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::expand::{self, Scopes};
use super::modules::{self, Content, Level};
use super::node::Node;
use super::project::{Project, is_echo};
use super::settings::Settings;
use super::sources::Sources;
use super::variables::{GivenVariables, VariableDeclaration, Variables};
use super::yaml;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile};

/// A project of which the settings were read, and no document yet.
pub struct UnreadProject {
    sources: Sources,
    /// The settings file, or a stand-in for it when there is none, and what is written there.
    file: Arc<SourceFile>,
    written: Vec<Node>,
    variables: BTreeMap<String, VariableDeclaration>,
    values: Variables,
    problems: Diagnostics,
}

impl UnreadProject {
    /// Reads the settings file, as far as it takes to read the documents.
    pub fn begin(mut sources: Sources, given: &GivenVariables) -> Self {
        let mut problems = Diagnostics::new();
        let mut file = match sources.settings() {
            Some(file) => file.clone(),
            None => SourceFile::new("gabion.yml", ""),
        };
        let (mut written, mut found) = yaml::parse(&file);
        if let Some(masked) = Settings::masked(&file, &written) {
            file = masked;
            (written, found) = yaml::parse(&file);
            sources.replace_settings(&file);
        }
        problems.extend(found);
        let (variables, values) = Settings::read_variables(&file, &written, given, &mut problems);
        for file in given.files() {
            sources.add_origin(file);
        }
        Self {
            sources,
            file,
            written,
            variables,
            values,
            problems,
        }
    }

    /// Returns the directory of the project; empty when it could not be found.
    pub fn directory(&self) -> &Path {
        self.sources.directory()
    }

    /// Returns the settings, unless it takes the documents to read them, or they have errors.
    ///
    /// What modules put out may stand in some of them: where a setting matters, it has to be compared with that of the
    /// project which was read whole.
    pub fn settings(&self) -> Option<Settings> {
        let (mut settings, problems) = match self.sources.settings() {
            Some(_) => {
                let scopes = Scopes::of_project(self.values.clone());
                Settings::read(&self.file, &self.written, self.sources.default_name(), &scopes)
            }
            None => {
                let settings = Settings::empty(self.sources.default_name(), self.file.clone());
                (settings, Diagnostics::new())
            }
        };
        settings.variables = self.variables.clone();
        settings.variable_values = self.values.clone();
        let is_sound = !self.problems.has_errors() && !problems.has_errors();
        is_sound.then_some(settings)
    }

    /// Parses all files and puts the values of variables in. With errors the project can still be lowered, to find more
    /// of them.
    pub fn read(self) -> (Project, Diagnostics) {
        let Self {
            sources,
            file,
            written,
            variables,
            values,
            mut problems,
        } = self;
        let scopes = Scopes::of_project(values.clone());
        let Level {
            content: Content { documents, declared },
            scopes,
            mut incomplete,
        } = modules::read_project(&sources, scopes, &mut problems);
        let profiles = sources.profiles().and_then(|file| {
            let (nodes, found) = yaml::parse(file);
            incomplete |= found.has_errors();
            problems.extend(found);
            if let [_, second, ..] = nodes.as_slice() {
                problems.push(
                    second
                        .error("extra-document", "more than one document")
                        .detail(format!(
                            "`{}` holds one document with the project's profiles.",
                            file.path()
                        ))
                        .hint("put all profiles into one list"),
                );
            }
            let first = nodes.first()?;
            Some(expand::expand(first, &scopes, &mut problems))
        });
        let mut settings = match sources.settings() {
            Some(_) => {
                let (settings, found) = Settings::read(&file, &written, sources.default_name(), &scopes);
                problems.extend(found);
                settings
            }
            None => Settings::empty(sources.default_name(), file),
        };
        settings.variables = variables;
        settings.variable_values = values;
        let is_echo = |problem: &Diagnostic| problem.code == "unexpected-expression" && is_echo(problem);
        let problems = problems
            .iter()
            .filter(|problem| !is_echo(problem))
            .cloned()
            .collect();
        (
            Project {
                sources,
                settings,
                profiles,
                profile: None,
                documents,
                declared,
                incomplete,
            },
            problems,
        )
    }
}
