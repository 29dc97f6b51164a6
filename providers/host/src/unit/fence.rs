//! Keeps a run of gabion whose lease was taken over from touching a unit.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::record::{parse, to_bytes};
use crate::durable;

/// The operation on whose behalf a unit is touched, and its lease epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The lineage of the project whose lease it is; epochs of different projects are not compared.
    pub lineage: String,
    /// Operation id.
    pub operation: String,
    /// Lease epoch; one that is older than the newest that touched the unit is refused.
    pub epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct FenceFile {
    format: u32,
    #[serde(flatten)]
    fence: Fence,
}

const FORMAT: u32 = 1;

/// Returns the newest epoch that touched the unit, with its operation.
pub(crate) fn newest(directory: &UnitDirectory) -> Result<Option<Fence>, UnitError> {
    let path = directory.fence_file();
    durable::read_optional(&path)?
        .map(|bytes| parse::<FenceFile>(&path, &bytes, FORMAT).map(|file| file.fence))
        .transpose()
}

/// Records that this operation touches the unit from now on.
///
/// # Errors
/// [`UnitError::StaleEpoch`] when a newer one has: the caller must stop at once.
pub(crate) fn admit(directory: &UnitDirectory, fence: &Fence) -> Result<(), UnitError> {
    hold(directory, fence).map(drop)
}

/// Like [`admit`]; until the returned file is dropped no other operation is admitted.
pub(crate) fn hold(directory: &UnitDirectory, fence: &Fence) -> Result<File, UnitError> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.fence_lock())
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => UnitError::NotFound {
                path: directory.path().to_owned(),
            },
            _ => durable::at(&directory.fence_lock(), error).into(),
        })?;
    lock.lock()?;
    let recorded = newest(directory)?;
    if let Some(recorded) = &recorded {
        if recorded.lineage == fence.lineage && recorded.epoch > fence.epoch {
            return Err(UnitError::StaleEpoch {
                path: directory.path().to_owned(),
                offered: fence.epoch,
                recorded: recorded.epoch,
            });
        }
        if recorded == fence {
            return Ok(lock);
        }
    }
    durable::write_atomic(&directory.fence_file(), &file(fence)?, 0o600)?;
    Ok(lock)
}

/// Returns the content of a new unit's fence file.
pub(crate) fn file(fence: &Fence) -> Result<Vec<u8>, UnitError> {
    to_bytes(&FenceFile {
        format: FORMAT,
        fence: fence.clone(),
    })
}
