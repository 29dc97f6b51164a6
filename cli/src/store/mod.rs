//! Where a project's state is: what `gabion.yml` says about it, the keys that it is encrypted with, and store URLs.

mod encryption;
mod keys;
mod settings_file;
mod url;

pub(crate) use encryption::Encryption;
pub(crate) use keys::envelope;
pub(crate) use settings_file::SettingsFile;
pub(crate) use url::{Kept, StoreUrl};
