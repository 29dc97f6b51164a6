//! The unit's directory: its paths, how it comes to be, and what units there are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::UnitError;
use super::fence::{self, Fence};
use super::mark::Mark;
use super::placeholder::Substitution;
use super::record::{LaunchRecord, digest, to_bytes};
use super::run::RunRecord;
use super::spec::{EnvValue, UnitSpec};
use super::stop::{self, Reach};
use crate::container;
use crate::durable;
use crate::process::ProcessStat;

/// How the name of a directory begins that is not in its place yet; its writer's pid ends it.
const DRAFT: &str = ".new-";

/// How the name of a directory begins whose unit is being removed; the uid ends it.
const LEAVING: &str = ".leaving-";

/// A unit's directory and the places in it. Having one says nothing about whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitDirectory {
    path: PathBuf,
}

impl UnitDirectory {
    /// Names the directory of a unit below a data root.
    ///
    /// # Errors
    /// [`UnitError::Invalid`] when the uid cannot be a directory's name.
    pub fn new(data_root: &Path, uid: &str) -> Result<Self, UnitError> {
        let fits = !uid.is_empty()
            && uid.len() <= 200
            && !uid.starts_with('.')
            && uid
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-'));
        if !fits {
            return Err(UnitError::Invalid {
                reason: format!(
                    "{uid:?} cannot name a unit: only letters, digits, `.`, `_` and `-`, and no `.` in front"
                ),
            });
        }
        Ok(Self {
            path: data_root.join("units").join(uid),
        })
    }

    /// Wraps the path of a unit's directory.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the unit exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// The name the directory is moved to when the unit is removed: nothing can be started there any more.
    pub(crate) fn leaving(&self) -> Self {
        let uid = self.path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: self.path.with_file_name(format!("{LEAVING}{uid}")),
        }
    }

    /// Where the unit is to be looked at: in its place, or where it was moved to by a removal that has not ended.
    pub(crate) fn found(&self) -> Self {
        let leaving = self.leaving();
        if !self.exists() && leaving.exists() {
            leaving
        } else {
            self.clone()
        }
    }

    /// The directory of the unit's own files.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The log the program writes to.
    #[must_use]
    pub fn current_log(&self) -> PathBuf {
        self.logs().join("current.log")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn launch_file(&self) -> PathBuf {
        self.path.join("launch.json")
    }

    pub(crate) fn env_file(&self) -> PathBuf {
        self.path.join("env")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(crate) fn mark_file(&self) -> PathBuf {
        self.path.join("mark.json")
    }

    pub(crate) fn exit_file(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    pub(crate) fn run_file(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// Why the shim did not become the program, where nobody reads its standard error.
    pub(crate) fn refusal_file(&self) -> PathBuf {
        self.path.join("refused.json")
    }

    pub(crate) fn fence_file(&self) -> PathBuf {
        self.path.join("fence.json")
    }

    pub(crate) fn fence_lock(&self) -> PathBuf {
        self.path.join("fence.lock")
    }

    /// Reads the record from which the unit is launched.
    pub fn launch(&self) -> Result<LaunchRecord, UnitError> {
        LaunchRecord::read(&self.launch_file())
    }

    /// Reads the mark of the last launch; `None` when there was none.
    pub fn mark(&self) -> Result<Option<Mark>, UnitError> {
        Mark::read(&self.mark_file())
    }

    /// Reads what the supervisor that a mark names says of its program; `None` when the mark names the program itself.
    pub fn run(&self, mark: &Mark) -> Result<Option<RunRecord>, UnitError> {
        let run = RunRecord::read(&self.run_file())?;
        Ok(run.filter(|run| run.supervisor == mark.process))
    }

    /// Reads the newest epoch that touched the unit, and its operation.
    pub fn fence(&self) -> Result<Option<Fence>, UnitError> {
        fence::newest(self)
    }

    /// Reads the secret environment values.
    pub fn secret_env(&self) -> Result<BTreeMap<String, String>, UnitError> {
        let path = self.env_file();
        match durable::read_optional(&path)? {
            None => Ok(BTreeMap::new()),
            Some(bytes) => serde_json::from_slice(&bytes)
                // The error's words must not quote the content.
                .map_err(|_| UnitError::damaged(&path, "not a JSON object of strings")),
        }
    }

    /// Returns the digest of all that the program would read if it were launched now: arguments, environment, files, ports.
    ///
    /// When it is not the one in the [`Mark`], the running program was launched with something else. What only people and gabion read (address, role, log settings, stop duration) is not in it.
    pub fn launch_digest(&self) -> Result<String, UnitError> {
        let record = self.launch()?;
        let mut files = BTreeMap::new();
        for name in record.files.keys() {
            files.insert(name, self.file(name)?.map(|content| digest(&content)));
        }
        let supervision = record.supervision.as_ref();
        let user = record.service.as_ref().and_then(|service| service.user.as_ref());
        let read = (
            (&record.argv, &record.env, &record.secret_env, self.secret_env()?),
            (
                &record.base_env,
                &record.working_dir,
                &record.package_dir,
                &record.ports,
            ),
            files,
        );
        // Another build's agent and another socket of the same daemon make no other program of it.
        let container = record
            .container
            .as_ref()
            .map(|container| (&container.image.id, &container.settings));
        // A unit without a supervisor or a container has the digest that it always had.
        match (supervision, container) {
            _ if user.is_some() => Ok(digest(&to_bytes(&(read, supervision, user))?)),
            (None, None) => Ok(digest(&to_bytes(&read)?)),
            (Some(supervision), None) => Ok(digest(&to_bytes(&(read, supervision))?)),
            (supervision, Some(container)) => Ok(digest(&to_bytes(&(read, supervision, container))?)),
        }
    }

    /// Reads one of the unit's files; `None` when it is gone.
    pub fn file(&self, relative: &str) -> Result<Option<Vec<u8>>, UnitError> {
        Ok(durable::read_optional(&self.files().join(relative))?)
    }
}

/// Puts a unit down: all of its directory at once when it is new, each file atomically when it is there. Nothing is started.
///
/// Writing the same again is harmless. Files of an earlier specification that this one no longer has are removed.
///
/// # Errors
/// [`UnitError::Invalid`] before anything is written; [`UnitError::StaleEpoch`] when a newer epoch has touched the unit.
pub fn write(data_root: &Path, spec: &UnitSpec, fence: &Fence) -> Result<UnitDirectory, UnitError> {
    let directory = UnitDirectory::new(data_root, &spec.uid)?;
    validate(spec, &directory)?;
    let leaving = directory.leaving();
    if !directory.exists() && leaving.exists() {
        // A removal was interrupted, and the unit is wanted after all.
        let back = fence::admit(&leaving, fence).and_then(|()| Ok(move_directory(&leaving, &directory)?));
        // Unless somebody has removed it meanwhile.
        if leaving.exists() || directory.exists() {
            back?;
        }
    }
    if directory.exists() {
        fence::admit(&directory, fence)?;
        let earlier = directory.launch().map(|record| record.files).unwrap_or_default();
        fill(&directory, spec)?;
        for path in earlier.keys().filter(|path| !spec.files.contains_key(*path)) {
            remove_file(&directory.files().join(path))?;
        }
        return Ok(directory);
    }
    let units = data_root.join("units");
    durable::create_private_directory(&units)?;
    remove_abandoned(&units)?;
    let prefix = format!("{DRAFT}{}-", spec.uid);
    for leftover in names_beginning_with(&units, &prefix)? {
        durable::remove_directory(&leftover)?;
    }
    let draft = UnitDirectory::at(units.join(format!("{prefix}{}", std::process::id())));
    let made = fill(&draft, spec).and_then(|()| {
        durable::write_atomic(&draft.fence_file(), &fence::file(fence)?, 0o600)?;
        move_directory(&draft, &directory)?;
        Ok(())
    });
    if let Err(error) = made {
        // The error that matters is the first; a draft that stays is removed by the next attempt.
        let _ = durable::remove_directory(&draft.path);
        return Err(error);
    }
    Ok(directory)
}

/// Gives a unit's directory another name.
pub(crate) fn move_directory(from: &UnitDirectory, to: &UnitDirectory) -> io::Result<()> {
    fs::rename(from.path(), to.path()).map_err(|error| durable::at(to.path(), error))?;
    to.path().parent().map_or(Ok(()), durable::sync_directory)
}

/// Tells apart the drafts that removals of this process make.
static TURN: AtomicU64 = AtomicU64::new(0);

/// Removes what nobody will come back for, since secret values may be in it: the drafts of processes that ended before they had put their units in place, and units whose removal was interrupted, unless something still runs in them.
pub(crate) fn remove_abandoned(units: &Path) -> Result<(), UnitError> {
    for leaving in names_beginning_with(units, LEAVING)? {
        let directory = UnitDirectory::at(leaving);
        if !stop::left(&directory, Reach::Unit)?.is_empty() {
            continue;
        }
        // As a draft of this process it is nobody's any more, should its unit be wanted again just now.
        // Several removals may be at it in one process.
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let draft = UnitDirectory::at(units.join(format!("{DRAFT}left-{turn}-{}", std::process::id())));
        durable::remove_directory(draft.path())?;
        match fs::rename(directory.path(), draft.path()) {
            Ok(()) => durable::remove_directory(draft.path())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(durable::at(directory.path(), error).into()),
        }
    }
    for draft in names_beginning_with(units, DRAFT)? {
        let writer = draft
            .file_name()
            .and_then(|name| name.to_str()?.rsplit_once('-')?.1.parse().ok());
        if writer.is_some_and(|pid| ProcessStat::read(pid).is_none()) {
            durable::remove_directory(&draft)?;
        }
    }
    Ok(())
}

/// Writes everything but the fence; the record last, since it names the rest.
fn fill(directory: &UnitDirectory, spec: &UnitSpec) -> Result<(), UnitError> {
    durable::create_private_directory(&directory.files())?;
    durable::create_private_directory(&directory.logs())?;
    for (relative, content) in &spec.files {
        let path = directory.files().join(relative);
        if let Some(parent) = path.parent() {
            durable::create_private_directory(parent)?;
        }
        // A script says so itself.
        let mode = if content.starts_with("#!") { 0o700 } else { 0o600 };
        durable::write_atomic(&path, content.as_bytes(), mode)?;
    }
    let secrets: BTreeMap<&str, &str> = spec
        .env
        .iter()
        .filter_map(|(name, value)| match value {
            EnvValue::Secret(value) => Some((name.as_str(), value.as_str())),
            EnvValue::Plain(_) => None,
        })
        .collect();
    durable::write_atomic(&directory.env_file(), &to_bytes(&secrets)?, 0o600)?;
    durable::write_atomic(
        &directory.launch_file(),
        &LaunchRecord::of(spec).to_bytes()?,
        0o600,
    )?;
    Ok(())
}

fn validate(spec: &UnitSpec, directory: &UnitDirectory) -> Result<(), UnitError> {
    let invalid = |reason: String| Err(UnitError::Invalid { reason });
    // An image has a program of its own.
    let named = match spec.argv.first() {
        None => spec.container.is_some(),
        Some(program) => !program.is_empty(),
    };
    if !named {
        return invalid("`argv` names no program".to_owned());
    }
    let texts = spec.argv.iter().chain(spec.working_dir.iter());
    let substitution = match &spec.container {
        Some(container) => container::substitution(container.settings.inner_ports(&spec.ports)),
        None => Substitution {
            ports: &spec.ports,
            unit_dir: directory.path(),
            package_dir: spec.package_dir.as_deref(),
            gabion: Path::new("/"),
        },
    };
    for text in texts {
        if text.contains('\0') {
            return invalid("an argument or the working directory holds a NUL byte".to_owned());
        }
        substitution.apply(text)?;
    }
    if let Some(working_dir) = &spec.working_dir
        && !Path::new(&substitution.apply(working_dir)?).is_absolute()
    {
        return invalid(format!("the working directory {working_dir:?} is not absolute"));
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid(format!("{name:?} cannot name an environment variable"));
        }
        if value.expose().contains('\0') {
            return invalid(format!(
                "the value of the environment variable {name} holds a NUL byte"
            ));
        }
        if let EnvValue::Plain(value) = value {
            substitution.apply(value)?;
        }
    }
    for path in spec.files.keys() {
        let inside = !path.is_empty()
            && !path.ends_with('/')
            && !path.contains('\0')
            && Path::new(path)
                .components()
                .all(|component| matches!(component, Component::Normal(_)));
        if !inside {
            return invalid(format!(
                "the file {path:?} is not a relative path below the unit's `files`"
            ));
        }
        let above = Path::new(path).ancestors().skip(1);
        if let Some(file) = above
            .filter_map(Path::to_str)
            .find(|above| spec.files.contains_key(*above))
        {
            return invalid(format!(
                "the file {path:?} is inside {file:?}, which is a file itself"
            ));
        }
    }
    Ok(())
}

/// One unit found by [`list`].
#[derive(Debug)]
pub struct UnitEntry {
    /// The uid, by the directory's name.
    pub uid: String,
    /// The directory.
    pub directory: UnitDirectory,
    /// Its record, or why that cannot be read: a damaged unit is still listed.
    pub launch: Result<LaunchRecord, UnitError>,
}

/// Returns the units below a data root, ordered by uid; one whose removal was interrupted is there until it has ended.
pub fn list(data_root: &Path) -> Result<Vec<UnitEntry>, UnitError> {
    let mut found: Vec<UnitEntry> = names_beginning_with(&data_root.join("units"), "")?
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let uid = name.strip_prefix(LEAVING).unwrap_or(name).to_owned();
            UnitDirectory::new(data_root, &uid).ok()?;
            let directory = UnitDirectory::at(path);
            directory.exists().then(|| UnitEntry {
                launch: directory.launch(),
                uid,
                directory,
            })
        })
        .collect();
    found.sort_by(|left, right| left.uid.cmp(&right.uid));
    Ok(found)
}

fn names_beginning_with(directory: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(durable::at(directory, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(durable::at(path, error)),
        _ => Ok(()),
    }
}
