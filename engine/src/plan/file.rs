//! Saved plans: a versioned envelope around a plan, with the digest that names it.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::form::in_first_form;
use crate::plan::check::check;
use crate::plan::{PLAN_FORMAT_VERSION, Plan};
use crate::value::{AttributePath, Value};

/// What a saved plan's file says that it is.
const KIND: &str = "gabion-plan";

/// Why a saved plan cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFileError {
    /// It is something else.
    #[error("this is no saved plan")]
    NotAPlan,
    /// It was cut off or changed by hand.
    #[error("the saved plan is damaged: {0}")]
    Damaged(String),
    /// A newer gabion wrote it.
    #[error(
        "the saved plan has format {found}, and this gabion knows formats up to {known}: use the gabion that made it"
    )]
    Newer {
        /// The plan's format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// It could not be applied: a value that apply needs comes from nowhere that apply can look.
    #[error(
        "a plan with this value cannot be saved: `{path}` of `{address}` is secret and stands in the configuration itself, \
         and gabion writes no secret into a file; give it from `secrets` or `env`"
    )]
    SecretWithoutSource {
        /// The resource.
        address: String,
        /// The input.
        path: AttributePath,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    kind: &'a str,
    format_version: u32,
    digest: &'a str,
    plan: &'a Plan,
}

/// What every format has; read before the rest, which a newer one may write differently.
#[derive(Deserialize)]
struct Head {
    kind: String,
    format_version: u32,
}

#[derive(Deserialize)]
struct Envelope {
    digest: String,
    plan: Plan,
}

/// Hashes what is written to it.
#[derive(Debug)]
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Plan {
    /// Returns the SHA-256 of the plan's canonical form, in hexadecimal: the plan's name for good.
    pub fn digest(&self) -> Arc<str> {
        // Its canonical form, in which secrets are sealed, is hashed while it is written: it is larger than the plan.
        let write = || {
            let mut hashed = BufWriter::with_capacity(64 * 1024, Hashed(Sha256::new()));
            serde_json::to_writer(&mut hashed, self).expect("a plan is made of what JSON can say");
            let Hashed(hash) = hashed.into_inner().expect("what is hashed is always taken");
            hex::encode(hash.finalize()).into()
        };
        match self.format_version {
            // A plan keeps its name under a later version, whose runs go on with what an earlier one began.
            1 => in_first_form(write),
            _ => write(),
        }
    }

    /// Returns what a file of the plan holds.
    ///
    /// # Errors
    /// When apply could not get a secret that the plan needs.
    pub fn to_file(&self) -> Result<Vec<u8>, PlanFileError> {
        self.secrets_have_sources()?;
        let digest = self.digest();
        let written = Written {
            kind: KIND,
            format_version: self.format_version,
            digest: &digest,
            plan: self,
        };
        let write = || serde_json::to_vec(&written).expect("a plan is made of what JSON can say");
        let mut bytes = match self.format_version {
            1 => in_first_form(write),
            _ => write(),
        };
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file of a plan and checks it.
    ///
    /// # Errors
    /// When it is no plan, damaged, or newer than this build.
    pub fn from_file(bytes: &[u8]) -> Result<Self, PlanFileError> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| {
            let cut_off = error.is_eof() && bytes.starts_with(b"{\"kind\":\"gabion-plan\"");
            if cut_off {
                PlanFileError::Damaged("its end is missing".to_owned())
            } else {
                PlanFileError::NotAPlan
            }
        })?;
        if head.kind != KIND {
            return Err(PlanFileError::NotAPlan);
        }
        if head.format_version > PLAN_FORMAT_VERSION {
            return Err(PlanFileError::Newer {
                found: head.format_version,
                known: PLAN_FORMAT_VERSION,
            });
        }
        let damaged = |error: serde_json::Error| PlanFileError::Damaged(error.to_string());
        let Envelope { digest, plan } = serde_json::from_slice(bytes).map_err(damaged)?;
        if *plan.digest() != *digest {
            return Err(PlanFileError::Damaged(
                "its digest does not fit its content".to_owned(),
            ));
        }
        match check(&plan).into_iter().next() {
            Some(fault) => Err(PlanFileError::Damaged(fault)),
            None => Ok(plan),
        }
    }

    /// Checks that every secret that apply needs has a template by which apply can get it.
    fn secrets_have_sources(&self) -> Result<(), PlanFileError> {
        let acting = self
            .changes
            .iter()
            .filter(|change| change.action != super::change::Action::NoOp);
        for change in acting {
            let inputs = Value::Map(change.inputs.clone().unwrap_or_default());
            let orphans =
                inputs.paths_where(&|leaf| matches!(leaf, Value::Secret(s) if s.template.is_none()));
            if let Some(path) = orphans.into_iter().next() {
                let address = change.address.to_string();
                return Err(PlanFileError::SecretWithoutSource { address, path });
            }
        }
        Ok(())
    }
}
