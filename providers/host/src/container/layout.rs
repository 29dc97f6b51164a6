//! The files of a unit's container, on the machine and inside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ContainerError;
use super::spec::ContainerSpec;
use crate::durable;
use crate::unit::{LaunchRecord, ShimError, Substitution, UnitDirectory, UnitError, environment};

/// What the container sees of its unit.
pub(super) const INSIDE: &str = "/.gabion";
/// The first process.
pub(super) const AGENT_INSIDE: &str = "/.gabion/agent";
/// What it runs.
pub(super) const LAUNCH_INSIDE: &str = "/.gabion/launch.json";
/// The unit's files.
pub(super) const FILES_INSIDE: &str = "/.gabion/files";
/// What the first process itself puts there.
pub(super) const RUN_INSIDE: &str = "/.gabion/run";
/// The relay's end inside.
pub(super) const RELAY_INSIDE: &str = "/.gabion/run/relay.sock";

/// The places of a unit's container on the machine.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    unit: PathBuf,
}

impl Layout {
    pub(super) fn of(directory: &UnitDirectory) -> Self {
        Self {
            root: directory.path().join("container"),
            unit: directory.path().to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Which container it is.
    pub(super) fn record(&self) -> PathBuf {
        self.unit.join("container.json")
    }
}

/// `launch.json` of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerLaunch {
    /// Format of this file.
    pub(super) format: u32,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// Variables above the image's own.
    pub(super) env: BTreeMap<String, String>,
    /// Who runs it; `None` means the first process's own user.
    pub(super) user: Option<String>,
}

impl ContainerLaunch {
    pub(super) const FORMAT: u32 = 1;
}

/// Returns what placeholders stand for inside a container.
pub(crate) fn substitution<'a>(ports: &'a BTreeMap<String, u16>) -> Substitution<'a> {
    Substitution {
        ports,
        unit_dir: Path::new(INSIDE),
        package_dir: None,
        gabion: Path::new(AGENT_INSIDE),
    }
}

/// Writes what the container's first process reads. `image` are the program and the user that the image has itself.
pub(super) fn write(
    directory: &UnitDirectory,
    record: &LaunchRecord,
    spec: &ContainerSpec,
    image: &ImageProgram,
) -> Result<(), ContainerError> {
    let layout = Layout::of(directory);
    durable::create_private_directory(layout.root())?;
    // Whoever the program becomes finds the unit's files there; on the machine the unit's own directory is private.
    fs::set_permissions(layout.root(), fs::Permissions::from_mode(0o755))?;
    durable::create_private_directory(&layout.run())?;
    durable::create_private_directory(&layout.root().join("files"))?;
    show_files(directory, record)?;
    place_agent(&spec.agent, &layout.root().join("agent"))?;
    let substitution = substitution(spec.settings.inner_ports(&record.ports));
    let wrong = |error: &dyn std::fmt::Display| ContainerError::Invalid {
        doing: "the program cannot be started".to_owned(),
        reason: error.to_string(),
    };
    let env = environment(directory, record, &substitution).map_err(|error: ShimError| wrong(&error))?;
    let mut argv = record
        .argv
        .iter()
        .map(|argument| substitution.apply(argument).map_err(|error| wrong(&error)))
        .collect::<Result<Vec<_>, _>>()?;
    if argv.is_empty() {
        argv.clone_from(&image.argv);
    }
    if argv.is_empty() {
        return Err(wrong(&format!(
            "the image {} names no program, and neither does the configuration",
            spec.image.name
        )));
    }
    let user = spec.settings.user.clone().or_else(|| image.user.clone());
    let launch = ContainerLaunch {
        format: ContainerLaunch::FORMAT,
        argv,
        env,
        user,
    };
    let bytes = serde_json::to_vec(&launch).map_err(io::Error::from)?;
    durable::write_atomic(&layout.root().join("launch.json"), &bytes, 0o600)?;
    Ok(())
}

/// What an image runs by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageProgram {
    pub(super) argv: Vec<String>,
    pub(super) user: Option<String>,
}

/// Lets whoever the program becomes read the unit's files; on the machine the unit's own directory is private.
pub(crate) fn show_files(directory: &UnitDirectory, record: &LaunchRecord) -> io::Result<()> {
    let files = directory.files();
    for relative in record.files.keys() {
        let path = files.join(relative);
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        let readable = if metadata.permissions().mode() & 0o100 == 0 {
            0o644
        } else {
            0o755
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(readable))?;
        for above in path
            .ancestors()
            .skip(1)
            .take_while(|above| above.starts_with(&files))
        {
            fs::set_permissions(above, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Puts the agent's program where the container sees it, which it cannot change there. It stays the one that it was when
/// another build's takes its place on the machine.
fn place_agent(program: &Path, place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(durable::at(place, error)),
        _ => {}
    }
    // On another file system it takes a copy.
    if fs::hard_link(program, place).is_err() {
        fs::copy(program, place).map_err(|error| durable::at(program, error))?;
    }
    Ok(())
}

/// Checks that a program can be the first process of any container.
///
/// # Errors
/// When it needs libraries, or is not there.
pub fn check_agent(agent: &Path) -> Result<(), UnitError> {
    if is_static(agent)? {
        return Ok(());
    }
    Err(UnitError::Invalid {
        reason: format!(
            "{} needs libraries of this machine, and images have others: containers take the static one that `cargo xtask agent` builds",
            agent.display()
        ),
    })
}

/// Returns whether a program for Linux needs no interpreter, and so no library of the machine that it is on.
///
/// # Errors
/// When it cannot be read.
pub fn is_static(program: &Path) -> io::Result<bool> {
    use std::io::Read;

    /// The header names the table of segments; this one says which program loads libraries.
    const INTERPRETER: u32 = 3;
    const TABLE_OFFSET: usize = 32;
    const ENTRY_SIZE: usize = 54;
    const ENTRY_COUNT: usize = 56;

    let mut head = Vec::new();
    fs::File::open(program)
        .and_then(|file| file.take(64 << 10).read_to_end(&mut head))
        .map_err(|error| durable::at(program, error))?;
    let half = |at: usize| {
        head.get(at..at + 2)
            .map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    };
    let table = head
        .get(TABLE_OFFSET..TABLE_OFFSET + 8)
        .and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok());
    let (true, Some(table), Some(size), Some(count)) = (
        head.starts_with(b"\x7fELF\x02\x01"),
        table,
        half(ENTRY_SIZE),
        half(ENTRY_COUNT),
    ) else {
        return Ok(false);
    };
    Ok((0..count).all(|number| {
        let entry = number
            .checked_mul(size)
            .and_then(|offset| offset.checked_add(table))
            .and_then(|at| head.get(at..at.checked_add(4)?));
        entry.is_some_and(|kind| kind != INTERPRETER.to_le_bytes())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_loads_libraries_is_not_static() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static(&own).unwrap());
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert!(!is_static(script.path()).unwrap());
        assert!(is_static(Path::new("/nonexistent")).is_err());
    }
}
