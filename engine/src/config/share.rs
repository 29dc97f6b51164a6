//! What a configuration says and a state has recorded, kept in memory once.
//!
//! Most of a project is as it was recorded. Sharing changes no value: what is compared, planned and written is the same.

use super::project::Project;
use crate::resource::{Configuration, Resource};
use crate::state::State;
use crate::value::Value;

impl Configuration {
    /// Lets resources share with their records what is the same in both.
    pub fn share_with(&mut self, state: &State) {
        share(&mut self.resources, state);
    }
}

impl Project {
    /// Lets the resources that were read with their documents share with their records what is the same in both: before
    /// they have their meaning, of which there is another copy for a while.
    pub fn share_with(&mut self, state: &State) {
        let declared = self.declared.iter_mut();
        share(declared.filter_map(|declared| declared.resource.as_mut()), state);
    }
}

fn share<'r>(resources: impl IntoIterator<Item = &'r mut Resource>, state: &State) {
    if state.is_empty() {
        return;
    }
    for resource in resources {
        let Some(record) = state.current(&resource.address) else {
            continue;
        };
        resource.address = record.address.clone();
        // A recorded secret is equal to one at hand and has no value.
        if resource.inputs == record.inputs && !record.inputs.values().any(Value::has_secret) {
            resource.inputs = record.inputs.clone();
        }
        if let Some(document) = &record.declaration.document
            && *document == resource.document
        {
            resource.document = document.clone();
        }
    }
}
