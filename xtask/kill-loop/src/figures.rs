//! What is counted, as one line of JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::kill::Phase;

/// The figures of one store.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// The store.
    pub store: String,
    /// The first session's seed.
    pub seed: u64,
    /// How many rounds there were.
    pub rounds: u64,
    /// How many runs were killed.
    pub kills: u64,
    /// How far they had come.
    pub kills_by_phase: BTreeMap<Phase, u64>,
    /// How many of them were killed while they recovered from an earlier kill.
    pub kills_of_recoveries: u64,
    /// How many runs ended before they were killed.
    pub quicker_than_the_kill: u64,
    /// Objects of the cloud that the log did not know.
    pub lost: u64,
    /// Addresses with more than one object.
    pub duplicated: u64,
    /// Records that do not agree with the cloud or the configuration.
    pub wrong_records: u64,
    /// Units that did not run exactly once.
    pub wrong_units: u64,
    /// Stores that could not be read or did not verify.
    pub unreadable: u64,
    /// Applies after a kill that did not succeed.
    pub failed_applies: u64,
    /// Plans after such an apply that were not empty.
    pub nonempty_plans: u64,
    /// Objects and processes that were left after a destroy.
    pub left: u64,
    /// Rounds that could not be carried out.
    pub broken: u64,
    /// Objects of the cloud in each round.
    pub objects: usize,
    /// Programs in each round.
    pub units: usize,
    /// Seconds that a round took, on the average.
    pub seconds_per_round: f64,
    /// Seconds that the longest apply after a kill took.
    pub longest_recovery_s: f64,
    /// Rounds in which several runs met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contention: Option<Contention>,
}

/// What became of runs that met.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Contention {
    /// How many rounds there were.
    pub rounds: u64,
    /// Runs that changed something.
    pub worked: u64,
    /// Runs that waited, and found nothing left to do.
    pub idle: u64,
    /// Runs that were refused with exit code 3, naming the holder.
    pub refused: u64,
    /// Runs whose plan was out of date, with exit code 4.
    pub stale: u64,
    /// Rounds in which two runs worked at the same time.
    pub overlapping: u64,
    /// Runs that ended in any other way.
    pub failed: u64,
}

impl Figures {
    /// Returns how many things went wrong.
    pub fn violations(&self) -> u64 {
        let contention = self
            .contention
            .as_ref()
            .map_or(0, |contention| contention.overlapping + contention.failed);
        self.lost
            + self.duplicated
            + self.wrong_records
            + self.wrong_units
            + self.unreadable
            + self.failed_applies
            + self.nonempty_plans
            + self.left
            + self.broken
            + contention
    }
}
