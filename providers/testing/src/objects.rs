//! Object storage that fails, and object storage that breaks its promises: wrappers around any `ObjectStore`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is asked of object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Writing an object, whatever the condition.
    Put,
    /// Reading an object, or about it.
    Get,
    /// Listing objects.
    List,
    /// Deleting one object.
    Delete,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFault {
    /// It is carried out and answered.
    None,
    /// It is not carried out, and answered with an error.
    Before,
    /// It is carried out, and answered with an error.
    After,
    /// It is not carried out and never answered.
    SilentBefore,
    /// It is carried out and never answered.
    SilentAfter,
}

type Decide = dyn Fn(Request, &Path) -> ObjectFault + Send + Sync;

/// Object storage whose requests fail when the test says so. Copies are the same one.
#[derive(Clone)]
pub struct FaultyObjects {
    inner: Arc<dyn ObjectStore>,
    decide: Arc<Decide>,
    /// The seed of how often others get their turn around each request; `None` is never.
    yields: Option<u64>,
    traffic: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    puts: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    written: AtomicU64,
}

/// What was asked of object storage so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// How many objects were written, or tried to.
    pub puts: u64,
    /// How many were read, or tried to.
    pub gets: u64,
    /// How often objects were listed.
    pub lists: u64,
    /// How many were deleted.
    pub deletes: u64,
    /// How many bytes were written.
    pub written: u64,
}

impl FaultyObjects {
    /// Wraps object storage; `decide` is asked once for each request, in order.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        decide: impl Fn(Request, &Path) -> ObjectFault + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            decide: Arc::new(decide),
            yields: None,
            traffic: Arc::default(),
        }
    }

    /// Wraps object storage so that one in `one_in` requests fails, half of those after their effect, and some without
    /// any answer. Around each request others get their turn. The same seed and the same requests make the same faults.
    pub fn seeded(inner: Arc<dyn ObjectStore>, seed: u64, one_in: u64) -> Self {
        let count = AtomicU64::new(0);
        let mut faulty = Self::new(inner, move |_, _| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let drawn = mixed(seed, number);
            match (drawn % one_in.max(1), (drawn >> 32) % 10) {
                (0, 0..5) => ObjectFault::After,
                (0, 5..8) => ObjectFault::Before,
                (0, 8) => ObjectFault::SilentAfter,
                (0, _) => ObjectFault::SilentBefore,
                _ => ObjectFault::None,
            }
        });
        faulty.yields = Some(!seed);
        faulty
    }

    /// Returns what was asked so far.
    pub fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            puts: read(&self.traffic.puts),
            gets: read(&self.traffic.gets),
            lists: read(&self.traffic.lists),
            deletes: read(&self.traffic.deletes),
            written: read(&self.traffic.written),
        }
    }

    fn decided(&self, request: Request, location: &Path) -> ObjectFault {
        let count = match request {
            Request::Put => &self.traffic.puts,
            Request::Get => &self.traffic.gets,
            Request::List => &self.traffic.lists,
            Request::Delete => &self.traffic.deletes,
        };
        count.fetch_add(1, Ordering::Relaxed);
        (self.decide)(request, location)
    }

    async fn turns(&self) {
        let Some(seed) = self.yields else { return };
        let Traffic { puts, gets, .. } = self.traffic();
        for _ in 0..mixed(seed, puts.wrapping_mul(7919) + gets) % 4 {
            tokio::task::yield_now().await;
        }
    }

    async fn with_fault<T>(
        &self,
        fault: ObjectFault,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.turns().await;
        let done = Self::faulted(fault, work).await;
        self.turns().await;
        done
    }

    async fn faulted<T>(fault: ObjectFault, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match fault {
            ObjectFault::None => work.await,
            ObjectFault::Before => Err(fault_error("nothing was done")),
            ObjectFault::After => {
                work.await?;
                Err(fault_error("the answer was lost"))
            }
            ObjectFault::SilentBefore => std::future::pending().await,
            ObjectFault::SilentAfter => {
                work.await?;
                std::future::pending().await
            }
        }
    }
}

/// SplitMix64 of a seed's how-manieth number.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fault_error(what: &str) -> Error {
    Error::Generic {
        store: "faulty",
        source: format!("the test made this request fail: {what}").into(),
    }
}

fn unsupported(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "a test's wrapper".to_owned(),
    }
}

impl fmt::Debug for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyObjects({})", self.inner)
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = self.decided(Request::Put, location);
        let size = payload.content_length() as u64;
        self.traffic.written.fetch_add(size, Ordering::Relaxed);
        self.with_fault(fault, self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("uploading in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.decided(Request::Get, location);
        self.with_fault(fault, self.inner.get_opts(location, options))
            .await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .then(move |location| {
                let this = this.clone();
                async move {
                    let location = location?;
                    let fault = this.decided(Request::Delete, &location);
                    this.with_fault(fault, this.inner.delete(&location)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let asked = prefix.cloned().unwrap_or_default();
        match self.decided(Request::List, &asked) {
            ObjectFault::None => self.inner.list(prefix),
            ObjectFault::Before | ObjectFault::After => {
                stream::once(async { Err(fault_error("nothing was listed")) }).boxed()
            }
            ObjectFault::SilentBefore | ObjectFault::SilentAfter => stream::pending().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let asked = prefix.cloned().unwrap_or_default();
        let fault = self.decided(Request::List, &asked);
        self.with_fault(fault, self.inner.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(unsupported("copying"))
    }
}

/// Object storage whose compare-and-set first checks and then writes, and lets others in between: what a state store
/// over it loses, a test must find.
#[derive(Debug, Clone)]
pub struct RacyObjects {
    inner: Arc<dyn ObjectStore>,
    /// How often others get their turn in between.
    yields: u32,
}

impl RacyObjects {
    /// Wraps object storage.
    pub fn new(inner: Arc<dyn ObjectStore>, yields: u32) -> Self {
        Self { inner, yields }
    }
}

impl fmt::Display for RacyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "racy {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for RacyObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        let mode = std::mem::replace(&mut opts.mode, PutMode::Overwrite);
        let there = match self.inner.head(location).await {
            Ok(meta) => Some(meta),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let path = location.to_string();
        match (mode, there) {
            (PutMode::Create, Some(_)) => {
                return Err(Error::AlreadyExists {
                    path,
                    source: "it is there".into(),
                });
            }
            (PutMode::Update(version), there)
                if there.as_ref().is_none_or(|meta| meta.e_tag != version.e_tag) =>
            {
                return Err(Error::Precondition {
                    path,
                    source: "it is another version".into(),
                });
            }
            _ => {}
        }
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("uploading in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(unsupported("copying"))
    }
}
