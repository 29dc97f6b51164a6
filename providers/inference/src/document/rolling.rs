//! `rolling`: how many replicas of a service are replaced at a time.

use gabion_engine::config::{MapReader, stuck_roll};

use crate::term::{map_type, plain_map};

map_type! {
    /// How replicas are replaced when the service changes: a new one is made, becomes ready and is registered, then the old one is deregistered, drained and stopped; then it is the next one's turn. The first that fails ends it, and the others go on serving. An extension of gabion's.
    pub struct Rolling: "rolling change" {
        /// How many new replicas may run beside the old ones at a time. With 0 the old one goes first.
        max_surge: u32 = 1,
        /// How many replicas may be missing at a time, where the old one goes first: with `max_surge: 0`, and where there is no room for another beside it. 0 counts as 1 there.
        max_unavailable: u32 = 0,
    }
    check Rolling::check;
}

plain_map!(Rolling, "a map of `max_surge` and `max_unavailable`");

impl Default for Rolling {
    fn default() -> Self {
        Self {
            max_surge: 1,
            max_unavailable: 0,
        }
    }
}

impl Rolling {
    fn check(&mut self, map: &mut MapReader<'_>) {
        if self.max_surge == 0 && self.max_unavailable == 0 {
            let problem = stuck_roll(&map.node().span);
            map.problems().push(problem);
        }
    }
}
