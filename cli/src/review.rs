//! Plans of what somebody wrote who is not trusted: what must not come from their files, and what stays open.
//!
//! `gabion plan --untrusted` is for pull requests. Their files say what is to be there, and nothing else: where the state
//! is, how its content is encrypted and which policy holds is said by the project as it is without them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_engine::config::{GivenVariables, Project, SecretSource, Settings, Sources, Target, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Note};
use gabion_engine::value::{TemplateText, Value};

use crate::options::{Options, Trust};
use crate::wiring;

/// The project as it is without the files of whoever is not trusted.
pub(crate) struct Base {
    /// Where it is; without one, the project's own directory.
    directory: PathBuf,
    /// What it says; `None` when nobody named it.
    settings: Option<Settings>,
}

impl Base {
    /// Reads what the command line names as the project without the change; `None` when the project's own files are
    /// trusted.
    pub(crate) fn read(options: &Options, name: &str, problems: &mut Diagnostics) -> Option<Self> {
        let Trust::Untrusted { base } = &options.trust else {
            return None;
        };
        let Some(directory) = base else {
            return Some(Self {
                directory: std::fs::canonicalize(&options.directory).unwrap_or_default(),
                settings: None,
            });
        };
        let (written, found) = Sources::load(directory);
        // A project that is new has nothing there yet.
        problems.extend(
            found
                .into_iter()
                .filter(|problem| problem.code != "no-configuration"),
        );
        let files = written
            .settings()
            .map(|file| (file.path().to_owned(), file.text().to_owned()));
        let sources = Sources::from_texts(name, files);
        let mut given = GivenVariables::default();
        let mut unshown = Diagnostics::new();
        if let Some(stack) = &options.stack
            && let Some(file) = written.stack_file(stack, &mut unshown)
        {
            given.add_stack_file(file);
        }
        for (name, text) in &options.variables {
            given.add_text(name, text, &format!("--var {name}"));
        }
        let (project, found) = Project::parse_with(sources, &given);
        let broken = found.into_iter().filter(|problem| {
            // Other values may be given by whoever applies; where one matters here, it is missed.
            problem.is_error() && problem.code != "missing-variable" && problem.code != "unknown-variable"
        });
        problems.extend(broken);
        Some(Self {
            directory: written.directory().to_owned(),
            settings: Some(project.settings),
        })
    }

    /// Returns where the files are that settings name by relative paths, absolute.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns whether the project itself declares a variable, so that its value in the environment is meant for it.
    pub(crate) fn declares(&self, name: &str) -> bool {
        let settings = self.settings.as_ref();
        settings.is_some_and(|settings| settings.variables.contains_key(name))
    }

    /// Puts what the project says itself in the place of what its untrusted files say.
    pub(crate) fn take_over(&self, project: &mut Project, problems: &mut Diagnostics) {
        problems.extend(self.secret_files_outside(project));
        let proposed = &mut project.settings;
        match &self.settings {
            Some(settings) => {
                // It names the state too.
                proposed.project = settings.project.clone();
                proposed.state = settings.state.clone();
                proposed.lease = settings.lease.clone();
                proposed.lineage = settings.lineage.clone();
                proposed.stacks = settings.stacks.clone();
                proposed.policy = settings.policy.clone();
            }
            None => {
                let elsewhere = proposed
                    .state
                    .as_ref()
                    .filter(|state| wiring::is_remote(Some(*state)) || wiring::is_encrypted(Some(*state)));
                if let Some(state) = elsewhere {
                    problems.push(
                        Diagnostic::error("untrusted-state", "state of somebody who is not trusted")
                            .detail(
                                "Whoever wrote this is not trusted to say where the state is: gabion would go there with your \
                                 credentials.",
                            )
                            .at(state.plugin_type.span.clone())
                            .hint("name a checkout of the project as it is without the change:\n    gabion plan --untrusted --base DIR"),
                    );
                }
                proposed.state = None;
            }
        }
    }

    /// Reports files of secrets that lead outside, unless the project itself names the same.
    fn secret_files_outside(&self, project: &Project) -> Diagnostics {
        let own = self.settings.as_ref();
        let Some(root) = project.sources.root() else {
            return Diagnostics::new();
        };
        let mut problems = Diagnostics::new();
        for (name, source) in &project.settings.secrets {
            let SecretSource::File(path) = &source.value else {
                continue;
            };
            let is_known =
                own.is_some_and(|own| own.secrets.get(name).is_some_and(|own| own.value == source.value));
            if is_known {
                continue;
            }
            if let Err(why) = root.check(&project.sources.directory().join(path)) {
                problems.push(
                    Diagnostic::error("path-outside", "path that leads outside")
                        .detail(format!("`{path}`, the file of the secret `{name}`, {why}."))
                        .at(source.span.clone())
                        .hint("have it declared by somebody who is trusted"),
                );
            }
        }
        problems
    }
}

/// Says which values stay open, because they are secrets and none is read.
pub(crate) fn note_unresolved(plan: &mut Plan) {
    const SHOWN: usize = 20;
    let mut names = BTreeSet::new();
    let changes = plan
        .changes
        .iter()
        .filter(|change| change.action != Action::Delete);
    for value in changes
        .filter_map(|change| change.inputs.as_ref())
        .flat_map(|inputs| inputs.values())
    {
        value.map_leaves(&mut |leaf| {
            match leaf {
                Value::Secret(secret) => names.extend(secret.template.iter().flat_map(secrets)),
                Value::Unknown(unknown) => names.extend(unknown.template.iter().flat_map(secrets)),
                _ => {}
            }
            Value::Null
        });
    }
    if names.is_empty() {
        return;
    }
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    let message: Arc<str> = format!(
        "Unresolved, as no secret is read for somebody who is not trusted: {}. Whether one changed is not known; apply \
         reads them.",
        shown.join(", ")
    )
    .into();
    plan.notes.push(Note { message, place: None });
    plan.notes.sort();
}

/// Returns the secrets that a template refers to.
fn secrets(template: &TemplateText) -> Vec<String> {
    let Ok(template) = Template::parse(template.as_str()) else {
        return Vec::new();
    };
    let is_secret = |target: &Target| matches!(target, Target::Environment(_) | Target::Secret(_));
    let targets = template.references().map(|reference| &reference.target);
    targets
        .filter(|target| is_secret(target))
        .map(ToString::to_string)
        .collect()
}
