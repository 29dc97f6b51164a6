//! Gateways and services on AWS: lowered from documents, settings and what is known of the region alone.
#![expect(clippy::unwrap_used, reason = "a test that has nothing to look at has failed")]

mod made;
mod names;
mod offers;
mod parts;
mod scene;
mod settings;
