//! What nothing declares any more goes only once those are done with it who used it without a word in their records.

use super::{Builder, Why};
use crate::address::Uid;

impl Builder<'_> {
    /// Makes the removal of what a resource frees wait for that resource, and for what it used of the rest and goes too.
    pub(super) fn order_freed(&mut self) {
        let resources = self.resources;
        for (position, resource) in resources.iter().enumerate() {
            for address in resource.frees.iter() {
                let record = self.known.state.current(address);
                let removal = record.and_then(|record| self.remove.get(&record.uid).copied());
                let Some(removal) = removal.filter(|_| self.graph.position(address).is_none()) else {
                    continue;
                };
                self.edge(self.apply[position], removal, Why::StopsUsing);
                let before = self.known.state.current(&resource.address);
                let used: Vec<Uid> = before.map_or_else(Vec::new, |record| self.known.dependencies(record));
                for uid in used {
                    if let Some(goes) = self.remove.get(&uid).copied() {
                        self.edge(goes, removal, Why::GoesBefore);
                    }
                }
            }
        }
    }
}
