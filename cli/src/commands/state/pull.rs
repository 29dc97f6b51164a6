//! `gabion state pull`: the whole state as a file.

use std::io::Write;
use std::path::Path;

use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::log_file;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;

/// Writes the log as it is now; takes no lease.
pub(crate) async fn run(out: Option<&Path>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let log = LogCopy::read(&*access.store, 0)
        .await
        .map_err(|error| store_failure(&error))?;
    let text = log_file::write(&log);
    match out {
        None => printer.data(&String::from_utf8_lossy(&text)),
        Some(path) => {
            write(path, &text)?;
            printer.status(&format!(
                "Wrote {}: {}, serial {}, lineage {}.",
                path.display(),
                count(log.events().len(), "event"),
                log.head().sequence,
                log.head().lineage
            ));
        }
    }
    Ok(Exit::Done)
}

/// Writes a file that its user alone can read, all or nothing.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let written = (|| {
        // It is made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    })();
    written.map_err(|error: std::io::Error| {
        Failure::new("the state cannot be written to a file").detail(format!("{}: {error}.", path.display()))
    })
}
