//! The project that a command works on: its files, its secrets, where its state is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_engine::config::{
    GivenVariables, LowerInputs, NothingRecorded, Plugin, Project, Purpose, RecordedView, SecretSource,
    SecretValues, Settings, Sources, Survey, Target, Template, UnreadProject, no_secrets,
};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile};
use gabion_engine::plan::Plan;
use gabion_engine::resource::Configuration;
use gabion_engine::state::StateStore;
use gabion_engine::value::{Attributes, TemplateText, Value};

use crate::checking;
use crate::early_store::EarlyStore;
use crate::failure::Failure;
use crate::options::{Options, Trust};
use crate::output::{Printer, ProblemForm};
use crate::policy;
use crate::render::{annotations, diagnostic};
use crate::review::Base;
use crate::secrets::{ProjectSecrets, SecretTexts};
use crate::wiring;

/// A project whose files were read and parsed; its documents have no meaning yet.
pub(crate) struct LoadedProject {
    /// The parsed files.
    pub(crate) project: Project,
    /// What reading and parsing found.
    pub(crate) problems: Diagnostics,
    /// What its secrets come from.
    texts: Arc<SecretTexts>,
    /// Who says where the state is, when whoever wrote the files is not trusted.
    base: Option<Base>,
    /// The store, when the state is being loaded already.
    early_store: Option<EarlyStore>,
}

/// Which documents a command is about. One that gabion reads and cannot apply yet is an error only among those.
pub(crate) enum About<'a> {
    /// All.
    Everything,
    /// Those of these files.
    Files(&'a BTreeSet<Arc<str>>),
    /// None: the command shows what there is.
    Nothing,
}

impl About<'_> {
    fn tolerant(&self, problems: Diagnostics) -> Diagnostics {
        let is_meant = |problem: &Diagnostic| match self {
            Self::Everything => true,
            Self::Files(files) => {
                let file = problem.primary.as_ref().map(|span| span.file.path());
                file.is_none_or(|file| files.contains(file))
            }
            Self::Nothing => false,
        };
        let soften = |problem: Diagnostic| {
            if problem.code != "unsupported-document" || is_meant(&problem) {
                return problem;
            }
            Diagnostic {
                severity: Severity::Warning,
                hint: None,
                ..problem
            }
        };
        problems.into_iter().map(soften).collect()
    }
}

impl LoadedProject {
    /// Reads and parses the files of the project directory. Problems are kept, to be reported with those of lowering.
    pub(crate) fn read(options: &Options) -> Self {
        Self::read_and(options, |_, _| None)
    }

    /// Reads the project for a command that needs its state as well, which is loaded meanwhile.
    pub(crate) fn read_with_state(options: &Options) -> Self {
        Self::read_and(options, |directory, settings| {
            EarlyStore::open(directory, settings, options)
        })
    }

    /// Reads the project; `begin` is given its directory and settings before its documents are read.
    fn read_and(options: &Options, begin: impl FnOnce(&Path, &Settings) -> Option<EarlyStore>) -> Self {
        let (sources, mut problems) = match options.trust {
            Trust::Full => Sources::load(&options.directory),
            Trust::Untrusted { .. } => Sources::load_untrusted(&options.directory),
        };
        let unread = problems.has_errors();
        let base = Base::read(options, sources.default_name(), &mut problems);
        let given = variables(options, &sources, base.as_ref(), &mut problems);
        let unread_project = UnreadProject::begin(sources, &given);
        let early_store = match base {
            None => unread_project
                .settings()
                .and_then(|settings| begin(unread_project.directory(), &settings)),
            // Where the state is, is not theirs to say.
            Some(_) => None,
        };
        let (mut project, found) = unread_project.read();
        if let Some(profile) = &options.profile {
            project = project.with_profile(&profile.name, profile.origin);
        }
        problems.extend(found);
        if let Some(base) = &base {
            base.take_over(&mut project, &mut problems);
        }
        problems.extend(policy::problems(&project.settings.policy));
        let texts = SecretTexts::new(project.sources.directory(), &options.environment);
        let read = Self {
            project: project.incomplete(unread),
            problems,
            texts: Arc::new(texts),
            base,
            early_store,
        };
        wiring::configure(options, &read);
        read
    }

    /// Reads the project for a command that asks it where the state is and what its settings say, and not what it
    /// declares: its documents are let go, and their texts.
    pub(crate) fn read_settings(options: &Options) -> Self {
        let mut project = Self::read(options);
        project.release_documents();
        project.release_texts();
        project
    }

    /// Returns what has to be found out about the world before documents have a meaning.
    pub(crate) fn surveys(&self, options: &Options, recorded: &dyn RecordedView) -> Vec<Survey> {
        let registry = wiring::documents();
        let environment = |name: &str| options.environment.get(name).map(str::to_owned);
        self.project.surveys(LowerInputs {
            purpose: Purpose::Plan,
            registry: &registry,
            recorded,
            environment: &environment,
            secret: &no_secrets,
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Gives up the documents, once they have their meaning. It cannot be had again then.
    pub(crate) fn release_documents(&mut self) {
        self.project.release_documents();
    }

    /// Gives up the texts of the documents, once nothing is reported any more that stands in them.
    pub(crate) fn release_texts(&mut self) {
        self.project.sources.release_texts();
    }

    /// Returns the project's directory, absolute, or why there is none.
    pub(crate) fn directory(&self) -> Result<&Path, Failure> {
        let directory = self.project.sources.directory();
        if directory.as_os_str().is_empty() {
            return Err(self.problems.clone().into());
        }
        Ok(directory)
    }

    /// Returns the store of a state, if it is being loaded already.
    pub(crate) fn early_store(&self, state: Option<&Plugin>) -> Option<Arc<dyn StateStore>> {
        self.early_store.as_ref()?.store(&self.project.settings, state)
    }

    /// Returns the directory of the settings that say where the state is: their key files and programs are found from it.
    pub(crate) fn settings_directory(&self) -> Result<&Path, Failure> {
        match &self.base {
            Some(base) => Ok(base.directory()),
            None => self.directory(),
        }
    }

    /// Returns whether the settings file could not be read as it is written. That a variable is not given is no error of
    /// the file; where it matters, it is missed.
    pub(crate) fn settings_have_errors(&self) -> bool {
        let file = self.project.settings.file.path();
        self.problems.iter().any(|problem| {
            let place = problem.primary.as_ref().map(|span| span.place());
            problem.is_error()
                && problem.code != "missing-variable"
                && place.is_some_and(|place| &*place.file == file)
        })
    }

    /// Returns every problem that can be found without the state: with settings that name none, no more is known.
    pub(crate) fn every_problem(&self, options: &Options) -> Result<Diagnostics, Failure> {
        let (configuration, mut problems) =
            self.lower_with_problems(options, Purpose::Plan, &NothingRecorded, &no_secrets);
        problems.extend(checking::problems_of_inputs(
            options,
            &self.project.sources,
            &configuration,
            true,
        )?);
        Ok(problems)
    }

    /// Gives the documents their meaning.
    ///
    /// # Errors
    /// All problems of the configuration at once, when one of them is an error. Warnings are printed.
    pub(crate) fn lower(
        &self,
        options: &Options,
        printer: &Printer,
        about: About<'_>,
        recorded: &dyn RecordedView,
    ) -> Result<Configuration, Failure> {
        let read = |source: &SecretSource| match about {
            About::Nothing => Ok(None),
            _ => Ok(Some(self.texts.text(source)?.to_string())),
        };
        let (configuration, problems) = self.lower_with_problems(options, Purpose::Plan, recorded, &read);
        let mut problems = about.tolerant(problems);
        if problems.has_errors() {
            problems.extend(checking::problems_of_inputs(
                options,
                &self.project.sources,
                &configuration,
                true,
            )?);
            return Err(problems.into());
        }
        print_warnings(printer, &problems);
        Ok(configuration)
    }

    /// Gives the documents their meaning, and returns every problem of the configuration.
    pub(crate) fn lower_with_problems(
        &self,
        options: &Options,
        purpose: Purpose,
        recorded: &dyn RecordedView,
        secret: &SecretValues<'_>,
    ) -> (Configuration, Diagnostics) {
        let registry = wiring::documents();
        let environment = |name: &str| match options.trust {
            Trust::Full => options.environment.get(name).map(str::to_owned),
            Trust::Untrusted { .. } => None,
        };
        let inputs = LowerInputs {
            purpose,
            registry: &registry,
            recorded,
            environment: &environment,
            secret,
            version: env!("CARGO_PKG_VERSION"),
        };
        let (configuration, found) = self.project.lower(inputs, &self.problems);
        wiring::declare(options, &configuration);
        let mut problems = self.problems.clone();
        problems.extend(found);
        problems.extend(wiring::check_store(&self.project.settings));
        (configuration, problems)
    }

    /// Returns a file's documents as they are understood, as YAML; what is not part of them stands in comments.
    ///
    /// # Errors
    /// When it is no file of the project.
    pub(crate) fn explain(&self, options: &Options, file: &Path) -> Result<String, Failure> {
        let path = self.project.sources.select(file).map_err(Diagnostics::from)?;
        let registry = wiring::documents();
        let environment = |name: &str| options.environment.get(name).map(str::to_owned);
        let inputs = LowerInputs {
            purpose: Purpose::Validate,
            registry: &registry,
            recorded: &NothingRecorded,
            environment: &environment,
            secret: &no_secrets,
            version: env!("CARGO_PKG_VERSION"),
        };
        let mut text = String::new();
        for (document, resolved) in self.project.resolve(&path, inputs) {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            let what = format!("{} {}", document.document_type.value, document.name());
            text.push_str(&format!("# {path}: {}\n", what.trim_end()));
            match resolved {
                Some(resolved) => {
                    for note in &resolved.notes {
                        text.push_str(&format!("# {note}\n"));
                    }
                    text.push_str(&resolved.yaml);
                }
                // The engine's own documents have no defaults that matter.
                None => {
                    let written = &document.file.text()[document.range.clone()];
                    let written = written.trim_end();
                    text.push_str(written.strip_suffix("---").unwrap_or(written).trim_end());
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }

    /// Returns what `-f FILE…` selects, as paths relative to the project directory; `None` without any.
    ///
    /// # Errors
    /// When one is no file of the project.
    pub(crate) fn select(&self, files: &[PathBuf]) -> Result<Option<BTreeSet<Arc<str>>>, Failure> {
        if files.is_empty() {
            return Ok(None);
        }
        let mut problems = Diagnostics::new();
        let mut selected = BTreeSet::new();
        for file in files {
            match self.project.sources.select(file) {
                Ok(path) => {
                    selected.insert(path.into());
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.has_errors() {
            Err(problems.into())
        } else {
            Ok(Some(selected))
        }
    }

    /// Returns what stands behind `env.NAME` and `secrets.NAME`. Never printed or written.
    pub(crate) fn secrets(&self) -> ProjectSecrets {
        let sources = self.project.settings.secrets.iter();
        let sources = sources.map(|(name, source)| (name.clone(), source.value.clone()));
        ProjectSecrets::new(sources.collect(), self.texts.clone())
    }

    /// Reads the secrets that a plan's changes need, so that one that cannot be read is known before anything is done.
    pub(crate) fn missing_secrets(&self, plan: &Plan) -> Diagnostics {
        let mut templates: Vec<TemplateText> = Vec::new();
        let inputs = plan.changes.iter().filter_map(|change| change.inputs.as_ref());
        for value in inputs.flat_map(Attributes::values) {
            value.map_leaves(&mut |leaf| {
                templates.extend(match leaf {
                    Value::Secret(secret) => secret.template.clone(),
                    Value::Unknown(unknown) => unknown.template.clone(),
                    _ => None,
                });
                leaf.clone()
            });
        }
        let bound = plan.bindings.secrets.keys().map(|text| &**text);
        let mut problems = Diagnostics::new();
        for template in templates.iter().map(TemplateText::as_str).chain(bound) {
            let Ok(template) = Template::parse(template) else {
                continue;
            };
            for reference in template.references() {
                let Target::Secret(name) = &reference.target else {
                    continue;
                };
                if let Some(source) = self.project.settings.secrets.get(&**name)
                    && matches!(source.value, SecretSource::File(_) | SecretSource::Command(_))
                    && let Err(missing) = self.texts.text(&source.value)
                {
                    problems.push(self.project.settings.missing_secret(name, missing.into()));
                }
            }
        }
        problems
    }
}

/// How the environment names a variable of the project: this and its name.
const VARIABLE_PREFIX: &str = "GABION_VAR_";

/// Gathers the values of variables from outside the project's files, those that win last.
fn variables(
    options: &Options,
    sources: &Sources,
    base: Option<&Base>,
    problems: &mut Diagnostics,
) -> GivenVariables {
    let mut given = GivenVariables::default();
    if let Some(stack) = &options.stack
        && let Some(file) = sources.stack_file(stack, problems)
    {
        given.add_stack_file(file);
    }
    for (variable, text) in options.environment.variables() {
        // What is set for other projects is not this one's to ask for.
        let may_be_read = |name: &&str| base.is_none_or(|base| base.declares(name));
        if let Some(name) = variable.strip_prefix(VARIABLE_PREFIX).filter(may_be_read) {
            given.add_environment(name, text, variable);
        }
    }
    for path in &options.variable_files {
        match std::fs::read_to_string(path) {
            Ok(text) => given.add_file(SourceFile::new(path.display().to_string(), text)),
            Err(error) => problems.push(
                Diagnostic::error("unreadable-file", "cannot read a file")
                    .detail(format!("`--var-file {}`: {error}.", path.display()))
                    .hint("name a file that is there; its path counts from the current directory"),
            ),
        }
    }
    for (name, text) in &options.variables {
        given.add_text(name, text, &format!("--var {name}"));
    }
    given
}

/// Prints warnings and notes of a configuration without errors.
pub(crate) fn print_warnings(printer: &Printer, problems: &Diagnostics) {
    let shown: Diagnostics = problems
        .iter()
        .filter(|problem: &&Diagnostic| problem.severity != Severity::Error)
        .cloned()
        .collect();
    if shown.is_empty() {
        return;
    }
    if let ProblemForm::Annotations(repository) = printer.problem_form() {
        printer.status(&annotations::annotations(&shown, repository));
        return;
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = diagnostic::write_diagnostics(&mut text, &shown, &printer.status_theme());
    printer.status(text.trim_end_matches('\n'));
    printer.status("");
}

/// Returns the commit of the checkout that a directory is in, and whether it is known to be clean is not asked.
///
/// Shown in plans and history, never relied on; without git there is none.
pub(crate) fn commit(directory: &Path) -> Option<Arc<str>> {
    let git = directory
        .ancestors()
        .map(|above| above.join(".git"))
        .find(|git| git.exists())?;
    let git = match std::fs::read_to_string(&git) {
        // In a work tree `.git` is a file that names the directory.
        Ok(text) => git.parent()?.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => git,
    };
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let head = head.trim();
    let Some(reference) = head.strip_prefix("ref: ") else {
        return is_hash(head).then(|| head.into());
    };
    let common = match std::fs::read_to_string(git.join("commondir")) {
        Ok(text) => git.join(text.trim()),
        Err(_) => git.clone(),
    };
    for place in [&git, &common] {
        if let Ok(text) = std::fs::read_to_string(place.join(reference))
            && is_hash(text.trim())
        {
            return Some(text.trim().into());
        }
    }
    let packed = std::fs::read_to_string(common.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| {
        let (hash, name) = line.split_once(' ')?;
        (name == reference && is_hash(hash)).then(|| hash.into())
    })
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_read_without_git() {
        let directory = tempfile::tempdir().unwrap();
        let git = directory.path().join(".git");
        let inner = directory.path().join("deploy");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(commit(&inner), None);
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(commit(&inner), None);
        let hash = "0123456789abcdef0123456789abcdef01234567";
        std::fs::write(
            git.join("packed-refs"),
            format!("# packed\n{hash} refs/heads/main\n"),
        )
        .unwrap();
        assert_eq!(commit(&inner).as_deref(), Some(hash));
        std::fs::write(git.join("HEAD"), hash.to_uppercase()).unwrap();
        assert_eq!(commit(&inner), Some(hash.to_uppercase().into()));
    }
}
