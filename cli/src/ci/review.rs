//! What a plan was made of, beside its file: which run of a job wrote it, for which commit.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file `review.json`. It travels with the plan, so nothing in it is believed by itself: a job compares it with what
/// it knows from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Review {
    /// The version of this form.
    pub(crate) format_version: u32,
    /// The plan's digest.
    pub(crate) digest: String,
    /// The commit that the request proposes.
    pub(crate) commit: Option<String>,
    /// The run, or job, that made it.
    pub(crate) run: Option<String>,
}

impl Review {
    /// The version of the form.
    pub(crate) const FORMAT: u32 = 1;

    /// Returns what stands in the file.
    pub(crate) fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Why it says nothing, as a sentence.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let wrong = |why: &str| format!("{}: {why}.", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        match serde_json::from_str::<Self>(&text) {
            Ok(review) if review.format_version == Self::FORMAT => Ok(review),
            Ok(_) => Err(wrong("it was written by another version")),
            Err(error) => Err(wrong(&error.to_string())),
        }
    }
}
