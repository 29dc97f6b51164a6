//! `gabion state pull`: the whole state as a file.

use std::io::{BufWriter, Write};
use std::path::Path;

use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::log_file;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::streamed::Utf8;
use crate::render::words::count;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;

/// Writes the log as it is now; takes no lease.
pub(crate) async fn run(out: Option<&Path>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    drop(access.load_existing_anew().await?);
    let log = LogCopy::read(&*access.store, 0)
        .await
        .map_err(|error| store_failure(&error))?;
    match out {
        None => {
            let mut text = printer.data_writer();
            // Printing keeps its failures to itself.
            let _ = log_file::write_to(&log, Utf8(&mut text));
        }
        Some(path) => {
            write(path, &log)?;
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

/// Writes a log to a file that its user alone can read, all or nothing.
pub(super) fn write(path: &Path, log: &LogCopy) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let written = (|| {
        // It is made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        let mut buffered = BufWriter::new(file.as_file_mut());
        log_file::write_to(log, &mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    })();
    written.map_err(|error: std::io::Error| {
        Failure::new("the state cannot be written to a file").detail(format!("{}: {error}.", path.display()))
    })
}
