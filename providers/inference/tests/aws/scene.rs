//! The examples' documents with what is known of their region, and what is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{DocumentRegistry, LowerInputs, Purpose, RecordedView, SurveyResult, load};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::{Configuration, Resource};
use gabion_engine::state::record::Status;
use gabion_engine::value::Attributes;
use gabion_inference::Inference;
use gabion_inference::offers::RegionFacts;

/// What is known before anything is lowered.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) recorded: BTreeMap<String, Attributes>,
    pub(crate) surveyed: BTreeMap<ResourceAddress, SurveyResult>,
    pub(crate) upgraded: BTreeSet<String>,
}

impl RecordedView for Known {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        let addresses = self
            .recorded
            .keys()
            .map(|text| text.parse::<ResourceAddress>().unwrap());
        addresses
            .filter(|address| address.resource_type.as_str() == resource_type)
            .filter(|address| address.name.as_str().starts_with(prefix))
            .map(|address| (address, Status::Ready))
            .collect()
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        self.recorded.get(&address.to_string()).cloned()
    }

    fn is_upgraded(&self, address: &ResourceAddress) -> bool {
        self.upgraded.contains(&address.to_string())
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.surveyed.get(address)
    }
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/seed-aws")
}

pub(crate) fn region() -> ResourceAddress {
    ResourceAddress::of("aws_region", "eu-west-1").unwrap()
}

/// What the examples' recorded facts say of their region.
pub(crate) fn facts() -> RegionFacts {
    let text = std::fs::read_to_string(examples().join("facts.json")).unwrap();
    let mut regions: BTreeMap<String, RegionFacts> = serde_json::from_str(&text).unwrap();
    regions.remove("eu-west-1").unwrap()
}

pub(crate) fn known(facts: &RegionFacts) -> Known {
    Known {
        surveyed: [(region(), Ok(facts.to_attributes()))].into(),
        ..Known::default()
    }
}

pub(crate) fn inputs<'a>(
    registry: &'a DocumentRegistry,
    known: &'a Known,
    purpose: Purpose,
) -> LowerInputs<'a> {
    LowerInputs {
        purpose,
        registry,
        recorded: known,
        environment: &|_| Some("token".to_owned()),
        secret: &|_| Ok(Some("token".to_owned())),
        version: "0.1.0",
    }
}

pub(crate) fn lower(directory: &Path, known: &Known) -> (Configuration, Diagnostics) {
    let registry = DocumentRegistry::new().with(Inference);
    let (_, configuration, problems) = load(directory, inputs(&registry, known, Purpose::Plan));
    (configuration, problems)
}

/// Lowers an example with changes to its files: file, old text, new text.
pub(crate) fn changed(
    example: &str,
    changes: &[(&str, &str, &str)],
    known: &Known,
) -> (Configuration, Diagnostics) {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(examples().join(example)).unwrap().flatten() {
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    for (file, old, new) in changes {
        let path = directory.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }
    lower(directory.path(), known)
}

pub(crate) fn errors(problems: &Diagnostics) -> Vec<&str> {
    let errors = problems.iter().filter(|problem| problem.is_error());
    errors.map(|problem| problem.code).collect()
}

pub(crate) fn find<'a>(configuration: &'a Configuration, address: &str) -> &'a Resource {
    let mut resources = configuration.resources.iter();
    resources
        .find(|resource| resource.address.to_string() == address)
        .unwrap_or_else(|| panic!("no {address}"))
}

pub(crate) fn text<'a>(configuration: &'a Configuration, address: &str, attribute: &str) -> &'a str {
    find(configuration, address).inputs[attribute].as_str().unwrap()
}

pub(crate) fn notes(configuration: &Configuration) -> Vec<String> {
    configuration
        .notes
        .iter()
        .map(|(note, _)| note.to_string())
        .collect()
}

/// What is recorded after an apply of a configuration: its inputs.
pub(crate) fn applied(configuration: &Configuration, mut known: Known) -> Known {
    for resource in &configuration.resources {
        known
            .recorded
            .insert(resource.address.to_string(), resource.inputs.clone());
    }
    known
}

/// Compares with `snapshots/aws/NAME.snap`.
pub(crate) fn assert_shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../snapshots/aws"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Shows resources with their inputs and dependencies.
pub(crate) fn shown(configuration: &Configuration) -> String {
    let mut text = String::new();
    for resource in &configuration.resources {
        text.push_str(&format!("{}\n", resource.address));
        for (name, value) in &resource.inputs {
            let value = match value.as_str() {
                Some(lines) if lines.contains('\n') => {
                    format!("|\n      {}", lines.trim_end().replace('\n', "\n      "))
                }
                _ => format!("{value:?}"),
            };
            text.push_str(&format!("  {name} = {value}\n"));
        }
        for (on, _) in &resource.depends_on {
            text.push_str(&format!("  after {on}\n"));
        }
        for trigger in &resource.lifecycle.replace_triggered_by {
            text.push_str(&format!("  replaced with {}\n", trigger.as_str()));
        }
        for address in &*resource.update_after {
            text.push_str(&format!("  updated after {address}\n"));
        }
        for path in &resource.lifecycle.ignore_changes {
            text.push_str(&format!("  whatever {path} is\n"));
        }
    }
    text.push_str("\nnotes\n");
    for (note, place) in &configuration.notes {
        let place = place.as_ref().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("  {place}: {note}\n"));
    }
    text.push_str("\nendpoints\n");
    for (name, value) in &configuration.endpoints {
        text.push_str(&format!("  {name}: {value:?}\n"));
    }
    text
}
