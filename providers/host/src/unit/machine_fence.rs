//! Keeps a run of gabion whose lease was taken over from making units on a machine.
//!
//! The [fence of a unit](super::fence) protects what is there. A run that was overtaken may be about to make a unit that
//! a later run has given up, and that has no directory yet; so the machine remembers the newest epoch of each project.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::UnitError;
use super::fence::Fence;
use super::record::{parse, to_bytes};
use crate::durable;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct MachineFence {
    format: u32,
    epoch: u64,
}

/// Records that a run of this epoch changes units on this machine.
///
/// # Errors
/// [`UnitError::StaleEpoch`] when a newer one has: the caller must stop at once.
pub(crate) fn admit_on_machine(data_root: &Path, fence: &Fence) -> Result<(), UnitError> {
    let directory = data_root.join("fences");
    durable::create_private_directory(data_root)?;
    durable::create_private_directory(&directory)?;
    let lock = File::open(&directory).map_err(|error| durable::at(&directory, error))?;
    lock.lock().map_err(|error| durable::at(&directory, error))?;
    let path = file(&directory, &fence.lineage);
    let recorded = match durable::read_optional(&path)? {
        None => None,
        Some(bytes) => Some(parse::<MachineFence>(&path, &bytes, FORMAT)?.epoch),
    };
    match recorded {
        Some(recorded) if recorded > fence.epoch => Err(UnitError::StaleEpoch {
            path: data_root.to_owned(),
            offered: fence.epoch,
            recorded,
        }),
        Some(recorded) if recorded == fence.epoch => Ok(()),
        _ => {
            let newest = MachineFence {
                format: FORMAT,
                epoch: fence.epoch,
            };
            durable::write_atomic(&path, &to_bytes(&newest)?, 0o600)?;
            Ok(())
        }
    }
}

fn file(directory: &Path, lineage: &str) -> PathBuf {
    directory.join(format!("{lineage}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(lineage: &str, epoch: u64) -> Fence {
        Fence {
            lineage: lineage.to_owned(),
            operation: format!("operation {epoch}"),
            epoch,
        }
    }

    #[test]
    fn an_older_epoch_of_the_same_project_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("data");
        let admit = |lineage, epoch| admit_on_machine(&root, &fence(lineage, epoch));
        admit("a", 3).unwrap();
        admit("a", 3).unwrap();
        admit("a", 5).unwrap();
        let refused = admit("a", 4).unwrap_err();
        assert!(
            matches!(
                refused,
                UnitError::StaleEpoch {
                    offered: 4,
                    recorded: 5,
                    ..
                }
            ),
            "{refused}"
        );
        admit("b", 1).unwrap();
    }

    #[test]
    fn a_damaged_fence_is_an_error_and_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        admit_on_machine(root.path(), &fence("a", 3)).unwrap();
        std::fs::write(root.path().join("fences/a.json"), "{").unwrap();
        let refused = admit_on_machine(root.path(), &fence("a", 4)).unwrap_err();
        assert!(matches!(refused, UnitError::Damaged { .. }), "{refused}");
    }
}
