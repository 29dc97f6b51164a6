//! Keeps a run of gabion whose lease was taken over from touching a unit.

use std::fs::File;

use serde::{Deserialize, Serialize};

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::mark::Mark;
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
///
/// When the file is damaged the mark tells what is known of it: who launched the unit last.
///
/// # Errors
/// [`UnitError::Damaged`] when neither tells, or when a newer gabion wrote the file.
pub(crate) fn newest(directory: &UnitDirectory) -> Result<Option<Fence>, UnitError> {
    match read(directory)? {
        None => Ok(None),
        Some(Ok(fence)) => Ok(Some(fence)),
        Some(Err(damage)) => of_launch(directory)?.map(Some).ok_or(damage),
    }
}

/// Reads the file; the inner error is damage that can be mended by writing it anew.
fn read(directory: &UnitDirectory) -> Result<Option<Result<Fence, UnitError>>, UnitError> {
    let path = directory.fence_file();
    let Some(bytes) = durable::read_optional(&path)? else {
        return Ok(None);
    };
    match parse::<FenceFile>(&path, &bytes, FORMAT) {
        Err(error) if is_newer(&bytes) => Err(error),
        parsed => Ok(Some(parsed.map(|file| file.fence))),
    }
}

fn is_newer(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Header {
        format: u64,
    }
    serde_json::from_slice::<Header>(bytes).is_ok_and(|header| header.format > u64::from(FORMAT))
}

/// Returns the operation that launched the unit last, if its records are intact.
fn of_launch(directory: &UnitDirectory) -> Result<Option<Fence>, UnitError> {
    let mark = Mark::read_intact(&directory.mark_file())?;
    Ok(mark.zip(directory.launch().ok()).map(|(mark, launch)| Fence {
        lineage: launch.project,
        operation: mark.operation,
        epoch: mark.epoch,
    }))
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
    let lock = durable::lock_file(&directory.fence_lock()).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => UnitError::NotFound {
            path: directory.path().to_owned(),
        },
        _ => error.into(),
    })?;
    lock.lock()?;
    let (recorded, intact) = match read(directory)? {
        None => (None, false),
        Some(Ok(recorded)) => (Some(recorded), true),
        // When nobody can tell any more, anybody may: the unit would be there for ever.
        Some(Err(_)) => (of_launch(directory)?, false),
    };
    if let Some(recorded) = &recorded {
        if recorded.lineage == fence.lineage && recorded.epoch > fence.epoch {
            return Err(UnitError::StaleEpoch {
                path: directory.path().to_owned(),
                offered: fence.epoch,
                recorded: recorded.epoch,
            });
        }
        if intact && recorded == fence {
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
