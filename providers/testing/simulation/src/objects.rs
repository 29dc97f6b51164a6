//! Object storage that takes its time, so that writers come between each other's requests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gabion_testing::fake::fault::Random;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The longest that a request is under way before it is carried out.
const LATENCY: Duration = Duration::from_millis(15);

/// Object storage with latency, in virtual time.
#[derive(Clone)]
pub(crate) struct SlowObjects {
    inner: Arc<dyn ObjectStore>,
    random: Arc<Mutex<Random>>,
}

impl SlowObjects {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, random: Random) -> Self {
        Self {
            inner,
            random: Arc::new(Mutex::new(random)),
        }
    }

    async fn under_way(&self) {
        let latency = {
            // A number is drawn or not.
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            random.duration(LATENCY)
        };
        tokio::time::sleep(latency).await;
    }
}

impl fmt::Debug for SlowObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlowObjects({})", self.inner)
    }
}

impl fmt::Display for SlowObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for SlowObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.under_way().await;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.under_way().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.under_way().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
