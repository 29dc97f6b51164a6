//! The objects below one prefix: reading, writing once, and changing by compare-and-set.
//!
//! No answer of the service is taken for more than it says: after a conflict, and after an error behind which the write
//! may have happened all the same, what is there now decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use gabion_engine::state::StoreError;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectMeta, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion,
};

/// How often a request is tried that certainly or possibly was not carried out.
const TRIES: u32 = 4;
/// How long to wait before the second try; each later one waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes a second the slowest connection moves that is waited for.
const SLOWEST: u64 = 256 << 10;

/// The objects below one prefix.
#[derive(Clone)]
pub(crate) struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    location: String,
    timeout: Duration,
}

/// What is in an object, and what names this version of it.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) version: UpdateVersion,
}

/// What became of a compare-and-set.
pub(crate) enum Swapped {
    /// The object is what was written.
    Done(UpdateVersion),
    /// The object is another one than was expected, or is not there. Whether what was written was there in between is
    /// for the caller to find out.
    Conflict(Option<Found>),
}

impl Place {
    /// Names the objects below a prefix; nothing is read yet. `location` is the same for people.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        location: String,
        timeout: Duration,
    ) -> Self {
        Self {
            store,
            prefix: Path::from(prefix),
            location,
            timeout,
        }
    }

    /// Returns the same place, reached otherwise.
    pub(crate) fn through(&self, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            ..self.clone()
        }
    }

    /// Returns the same place, waited for no longer than this.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self {
            timeout: timeout.min(self.timeout),
            ..self.clone()
        }
    }

    /// Returns where it is, for people.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    /// Makes the error for an object that cannot be read; `why` has no full stop.
    pub(crate) fn unreadable(&self, name: &str, why: impl Into<String>) -> StoreError {
        StoreError::Unreadable {
            location: self.location.clone(),
            what: name.to_owned(),
            why: why.into(),
        }
    }

    /// Makes the error for something that was tried too often.
    pub(crate) fn busy(&self, what: &str) -> StoreError {
        StoreError::Busy {
            location: self.location.clone(),
            what: what.to_owned(),
        }
    }

    /// Makes the error for what the service does not do.
    pub(crate) fn failed(&self, what: impl Into<String>, source: impl Into<Reason>) -> StoreError {
        StoreError::Io {
            location: self.location.clone(),
            what: what.into(),
            source: Box::new(source.into()),
        }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Bounds a request that moves this many bytes.
    async fn bounded<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Reason> {
        let timeout = self.timeout + Duration::from_secs(bytes / SLOWEST);
        match tokio::time::timeout(timeout, work).await {
            Ok(done) => done.map_err(Reason::from),
            Err(_) => Err(Reason::Silent(timeout)),
        }
    }

    /// Reads an object of about this many bytes, a few times if need be: reading changes nothing.
    async fn fetch(&self, name: &str, bytes: u64, options: GetOptions) -> Result<Found, Reason> {
        let path = self.path(name);
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            let read = self
                .bounded(bytes, async {
                    let result = self.store.get_opts(&path, options.clone()).await?;
                    let version = UpdateVersion {
                        e_tag: result.meta.e_tag.clone(),
                        version: result.meta.version.clone(),
                    };
                    let bytes = result.bytes().await?;
                    Ok(Found { bytes, version })
                })
                .await;
            match read {
                Err(reason) if tries < reason.tries() => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                read => return read,
            }
        }
    }

    /// Reads an object; `None` when it is not there.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Found>, StoreError> {
        self.get_sized(name, 0).await
    }

    /// Reads an object of about this many bytes; `None` when it is not there.
    pub(crate) async fn get_sized(&self, name: &str, bytes: u64) -> Result<Option<Found>, StoreError> {
        match self.fetch(name, bytes, GetOptions::default()).await {
            Ok(found) => Ok(Some(found)),
            Err(reason) if reason.is_absence() => Ok(None),
            Err(reason) => Err(self.failed(format!("reading {name}"), reason)),
        }
    }

    /// Reads an object unless it is the version that is known: `Ok(None)` says that it still is.
    pub(crate) async fn get_other(
        &self,
        name: &str,
        known: &UpdateVersion,
    ) -> Result<Option<Option<Found>>, StoreError> {
        let options = GetOptions {
            if_none_match: known.e_tag.clone(),
            ..GetOptions::default()
        };
        match self.fetch(name, 0, options).await {
            Ok(found) => Ok(Some(Some(found))),
            Err(Reason::Service(Error::NotModified { .. })) => Ok(None),
            Err(reason) if reason.is_absence() => Ok(Some(None)),
            Err(reason) => Err(self.failed(format!("reading {name}"), reason)),
        }
    }

    async fn put(&self, name: &str, bytes: &Bytes, mode: PutMode) -> Result<PutResult, Reason> {
        let options = PutOptions::from(mode);
        let payload = PutPayload::from(bytes.clone());
        let path = self.path(name);
        let put = self.store.put_opts(&path, payload, options);
        self.bounded(bytes.len() as u64, put).await
    }

    /// Puts an object if it is not there, whatever the answer means; for finding out what the service does.
    pub(crate) async fn put_raw(
        &self,
        name: &str,
        bytes: &Bytes,
        mode: PutMode,
    ) -> Result<PutResult, Reason> {
        self.put(name, bytes, mode).await
    }

    /// Writes an object whose name nobody else uses.
    pub(crate) async fn put_new(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        match self.swap(name, bytes.into(), None).await? {
            Swapped::Done(_) => Ok(()),
            Swapped::Conflict(_) => Err(self.unreadable(name, "somebody else wrote it, or removed it")),
        }
    }

    /// Replaces an object if it is the version that is expected (`None`: if it is not there).
    ///
    /// The bytes must differ from whatever was written there before.
    pub(crate) async fn swap(
        &self,
        name: &str,
        bytes: Bytes,
        expected: Option<&UpdateVersion>,
    ) -> Result<Swapped, StoreError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let mode = expected.map_or(PutMode::Create, |version| PutMode::Update(version.clone()));
            let reason = match self.put(name, &bytes, mode).await {
                Ok(result) if result.e_tag.is_some() => return Ok(Swapped::Done(result.into())),
                Ok(_) => Reason::NoTag,
                Err(reason) => reason,
            };
            if reason.refused_before_writing() {
                return Err(self.failed(format!("writing {name}"), reason));
            }
            let now = self.get_sized(name, bytes.len() as u64).await?;
            let unchanged = match (&now, expected) {
                (Some(now), _) if now.bytes == bytes => return Ok(Swapped::Done(now.version.clone())),
                (None, None) => true,
                (Some(now), Some(expected)) => now.version.e_tag == expected.e_tag,
                _ => false,
            };
            if !unchanged {
                return Ok(Swapped::Conflict(now));
            }
            if attempt >= reason.tries() {
                return Err(self.failed(format!("writing {name}"), reason));
            }
            // Trying again harms nothing: of all tries at most one can find what is expected.
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(self.busy("writing"))
    }

    /// Lists all objects, by name.
    pub(crate) async fn list(&self) -> Result<Vec<(String, ObjectMeta)>, StoreError> {
        let prefix = self.prefix.clone();
        let listed: Result<Vec<ObjectMeta>, Reason> = self
            .bounded(0, self.store.list(Some(&prefix)).try_collect())
            .await;
        let listed = listed.map_err(|reason| self.failed("listing", reason))?;
        let below = |meta: ObjectMeta| {
            let parts: Vec<_> = meta.location.prefix_match(&prefix)?.collect();
            let name: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
            Some((name.join("/"), meta))
        };
        let mut named: Vec<_> = listed.into_iter().filter_map(below).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(named)
    }

    /// Deletes objects; those that are gone already are fine.
    pub(crate) async fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let mut deleted = self.store.delete_stream(stream::iter(paths).boxed());
        loop {
            match self.bounded(0, deleted.try_next()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(reason) if reason.is_absence() => {}
                Err(reason) => return Err(self.failed("deleting", reason)),
            }
        }
    }
}

/// Why the service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    /// It said so, or could not be reached.
    #[error("{}", explain(.0))]
    Service(#[from] Error),
    /// It did not answer.
    #[error("no answer came within {} s", .0.as_secs())]
    Silent(Duration),
    /// It does not say which version it wrote.
    #[error("the service answers without an ETag, which compare-and-set needs")]
    NoTag,
    /// It breaks a promise that the store is built on.
    #[error("{0}")]
    Unfit(String),
}

impl Reason {
    /// Returns whether an object is not there, in a bucket that is.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Service(error @ Error::NotFound { .. }) if !is_missing_bucket(error))
    }

    /// Returns whether a compare-and-set was refused because of what is there.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Service(Error::AlreadyExists { .. } | Error::Precondition { .. })
        )
    }

    /// Returns whether it is certain that a write was refused, whatever is there.
    fn refused_before_writing(&self) -> bool {
        match self {
            Self::Service(error) => matches!(
                error,
                Error::NotFound { .. }
                    | Error::PermissionDenied { .. }
                    | Error::Unauthenticated { .. }
                    | Error::NotSupported { .. }
                    | Error::NotImplemented { .. }
                    | Error::InvalidPath { .. }
                    | Error::UnknownConfigurationKey { .. }
            ),
            Self::Silent(_) | Self::NoTag | Self::Unfit(_) => false,
        }
    }

    /// Returns how often a request that ends like this is tried at all.
    fn tries(&self) -> u32 {
        match self {
            Self::Service(Error::Generic { source, .. }) if about_credentials(&source.to_string()) => 1,
            Self::Service(
                Error::Generic { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. },
            ) => TRIES,
            Self::Silent(_) => 2,
            Self::Service(_) | Self::NoTag | Self::Unfit(_) => 1,
        }
    }
}

fn is_missing_bucket(error: &Error) -> bool {
    error.to_string().contains("NoSuchBucket")
}

/// Says what the service said, and what to set when it is about who asks.
fn explain(error: &Error) -> String {
    let said = Chain(error);
    match error {
        _ if is_missing_bucket(error) => format!("the bucket does not exist; create it first ({said})"),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => format!(
            "the service refused access ({said}); check {CREDENTIALS}, and that they allow s3:GetObject, \
             s3:PutObject and s3:DeleteObject below the prefix and s3:ListBucket on the bucket"
        ),
        Error::Generic { .. } if about_credentials(&said.to_string()) => {
            format!("no credentials were found ({said}); set {CREDENTIALS}")
        }
        _ => said.to_string(),
    }
}

const CREDENTIALS: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones; \
                           profiles are not read: `eval \"$(aws configure export-credentials --format env)\"` sets \
                           these from one), or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN";

/// Returns whether an error came from where credentials are looked for when none are set.
fn about_credentials(said: &str) -> bool {
    let said = said.to_lowercase();
    ["/latest/api/token", "/latest/meta-data/", "169.254.170.2"]
        .iter()
        .any(|sign| said.contains(sign))
}

/// An error with all that caused it, each said once.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write!(f, "{}", said.split_whitespace().collect::<Vec<_>>().join(" "))?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            source = error.source();
        }
        Ok(())
    }
}
