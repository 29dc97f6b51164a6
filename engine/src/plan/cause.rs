//! Where each difference comes from: the configuration, a reference, drift, or the provider.

use crate::diff::{Difference, Differences};
use crate::graph::DependenceKind;
use crate::plan::change::{AttributeChange, Cause, CausingReference};
use crate::plan::decide::{Decider, Existing};
use crate::plan::known::Actual;
use crate::plan::path;
use crate::provider::{PlanResponse, ReplaceCause};
use crate::resource::Resource;
use crate::state::record::Record;
use crate::value::{AttributePath, Comparison, Value};

impl Decider<'_> {
    /// Says of each difference where it comes from.
    pub(super) fn causes(
        &self,
        position: usize,
        existing: Option<&Existing<'_>>,
        response: &PlanResponse,
        found: &Differences,
        replace: &[ReplaceCause],
    ) -> Vec<AttributeChange> {
        let resource = &self.input.configuration.resources[position];
        let references = self.references(position);
        let recorded = existing.and_then(|existing| {
            let record = existing.record?;
            matches!(self.known.actual(record.uid), Actual::Read(_)).then_some(record)
        });
        let causes = if replace.is_empty() {
            &response.replace[..]
        } else {
            replace
        };
        found
            .found
            .iter()
            .map(|difference| AttributeChange {
                path: difference.path.clone(),
                before: difference.before.clone().map(Box::new),
                after: difference.after.clone(),
                forces_replacement: existing.is_some()
                    && causes
                        .iter()
                        .any(|cause| path::overlap(&cause.path, &difference.path)),
                sensitive: difference.sensitive,
                cause: self.cause(resource, &references, existing, recorded, difference),
            })
            .collect()
    }

    fn cause(
        &self,
        resource: &Resource,
        references: &[(AttributePath, usize, AttributePath)],
        existing: Option<&Existing<'_>>,
        recorded: Option<&Record>,
        difference: &Difference,
    ) -> Cause {
        let at = &difference.path;
        let meant: Vec<_> = references
            .iter()
            .filter(|(input, target, attribute)| {
                path::overlap(input, at)
                    && (self.outcomes[*target].changes(attribute) || self.has_drifted(*target, attribute))
            })
            .collect();
        // Of several the one that makes the value unknown says most.
        let unknown = |(_, target, attribute): &&&(AttributePath, usize, AttributePath)| {
            let attributes = self.outcomes[*target].attributes.as_ref();
            let value = attributes.and_then(|attributes| path::get(attributes, attribute));
            value.is_none_or(|value| !value.is_wholly_known())
        };
        if let Some((input, target, attribute)) = meant.iter().find(unknown).or(meant.first()) {
            return Cause::Reference(Box::new(CausingReference {
                address: self.graph.address(*target).clone(),
                path: attribute.clone(),
                place: Some(resource.place_of(input).clone()),
            }));
        }
        if let Some(record) = recorded {
            let was = path::get(&record.attributes, at).unwrap_or(&Value::Null);
            let is = difference.before.as_ref().unwrap_or(&Value::Null);
            let shall = difference.after.as_ref().unwrap_or(&Value::Null);
            if was.compare(is) == Comparison::Different && was.compare(shall) == Comparison::Equal {
                return Cause::Drift;
            }
        }
        let root = AttributePath::root(at.first_key().unwrap_or_default());
        let configured = path::get(&resource.inputs, &root).is_some();
        let was_configured = existing.is_some_and(|e| path::get(&e.prior.inputs, &root).is_some());
        if configured || was_configured {
            Cause::Configuration(Some(resource.place_of(at).clone()))
        } else {
            Cause::Computed
        }
    }

    /// Returns whether an attribute of another resource was changed behind our back.
    fn has_drifted(&self, target: usize, attribute: &AttributePath) -> bool {
        let Some(record) = self.known.state.current(self.graph.address(target)) else {
            return false;
        };
        let Actual::Read(state) = self.known.actual(record.uid) else {
            return false;
        };
        let was = path::get(&record.attributes, attribute).unwrap_or(&Value::Null);
        let is = path::get(&state.attributes, attribute).unwrap_or(&Value::Null);
        was.compare(is) == Comparison::Different
    }

    /// Returns each input that refers to another resource, with what it refers to.
    fn references(&self, position: usize) -> Vec<(AttributePath, usize, AttributePath)> {
        let mut found = Vec::new();
        for (target, why) in self.graph.dependencies(position) {
            for dependence in why {
                if let DependenceKind::Reference { input, attribute } = &dependence.kind {
                    found.push((input.clone(), target, attribute.clone()));
                }
            }
        }
        found.sort();
        found
    }
}
