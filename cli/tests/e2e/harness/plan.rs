//! A JSON plan as tests look at it: what happens to which address.

use std::collections::BTreeMap;

use serde_json::Value;

/// A plan.
pub(crate) struct PlanView(pub(crate) Value);

impl PlanView {
    /// Returns what happens to each address: `create`, `update`, `delete`, `create+delete`, …; nothing about the rest.
    ///
    /// An object whose address another one has taken has ` (deposed)` behind its address.
    pub(crate) fn changes(&self) -> BTreeMap<String, String> {
        let changes = self.0["resource_changes"]
            .as_array()
            .unwrap_or_else(|| panic!("no changes in {:#}", self.0));
        changes
            .iter()
            .filter_map(|change| {
                let actions: Vec<&str> = change["change"]["actions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|action| action.as_str().unwrap())
                    .collect();
                let mut address = change["address"].as_str().unwrap().to_owned();
                if !change["deposed"].is_null() {
                    address.push_str(" (deposed)");
                }
                let actions = actions.join("+");
                (actions != "no-op" && actions != "read").then_some((address, actions))
            })
            .collect()
    }

    /// Checks what happens, exactly.
    #[track_caller]
    pub(crate) fn changes_are(&self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(address, actions)| ((*address).to_owned(), (*actions).to_owned()))
            .collect();
        assert_eq!(self.changes(), expected);
    }
}
