//! What several tests need: reading documents as `gabion validate` does, and writing them as it explains them.
#![allow(dead_code, reason = "each test uses a part of it")]

use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_inference::Inference;

/// Calls `then` with what lowering needs.
fn with_inputs<T>(then: impl FnOnce(LowerInputs<'_>) -> T) -> T {
    let registry = DocumentRegistry::new().with(Inference);
    then(LowerInputs {
        purpose: Purpose::Validate,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &|_| Some("value".to_owned()),
        secret: &no_secrets,
        version: "0.1.0",
    })
}

/// Reads a file as the only one of a project, and says what is wrong with it.
pub(crate) fn validate(name: &str, text: &str) -> Diagnostics {
    validate_with(&[(&format!("{}.dstack.yml", name.trim_end_matches(".yml")), text)])
}

/// Reads the files of a project, and says what is wrong with them.
pub(crate) fn validate_with(files: &[(&str, &str)]) -> Diagnostics {
    validate_profile(files, None)
}

/// Reads the files of a project with a profile that is asked for, and says what is wrong with them.
pub(crate) fn validate_profile(files: &[(&str, &str)], profile: Option<&str>) -> Diagnostics {
    let (project, mut problems) = read(files, profile);
    let (_, found) = with_inputs(|inputs| project.lower(inputs, &problems));
    problems.extend(found);
    problems
}

fn read(files: &[(&str, &str)], profile: Option<&str>) -> (Project, Diagnostics) {
    let (project, problems) = Project::parse(Sources::from_texts("project", files.iter().copied()));
    let project = match profile {
        Some(name) => project.with_profile(name, "--profile"),
        None => project,
    };
    (project, problems)
}

/// Returns a file's documents as they are understood, and what is said of them; nothing for those with errors.
pub(crate) fn resolve(name: &str, text: &str) -> Vec<(String, Vec<String>)> {
    resolve_with(
        &[(&format!("{}.dstack.yml", name.trim_end_matches(".yml")), text)],
        None,
    )
}

/// Returns the documents of the first of some files as they are understood with a profile, as [`resolve`] does.
pub(crate) fn resolve_with(files: &[(&str, &str)], profile: Option<&str>) -> Vec<(String, Vec<String>)> {
    let (project, _) = read(files, profile);
    let resolved = with_inputs(|inputs| project.resolve(files[0].0, inputs));
    let documents = resolved.into_iter().filter_map(|(_, resolved)| resolved);
    documents
        .map(|resolved| (resolved.yaml, resolved.notes))
        .collect()
}

/// Returns the errors, each with its place.
pub(crate) fn errors(problems: &Diagnostics) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.is_error());
    let said = errors.map(|error| {
        let place = error.primary.as_ref().map(ToString::to_string);
        format!(
            "{} {}: {}",
            place.unwrap_or_else(|| "nowhere".to_owned()),
            error.code,
            error.detail
        )
    });
    said.collect()
}
