//! Services that break their promises: the suite finds them out, and so does creating a state there.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gabion_engine::state::StateStore;
use gabion_stores::object::{ObjectOptions, ObjectStateStore, Upkeep};
use gabion_testing::objects::RacyObjects;
use gabion_testing::store_conformance::check_store;
use gabion_testing::store_events::creation;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::memory::Memory;

fn racy() -> Arc<dyn ObjectStore> {
    Arc::new(RacyObjects::new(Arc::new(InMemory::new()), 3))
}

#[tokio::test]
async fn the_suite_fails_over_a_service_that_checks_and_then_writes() {
    let suite = tokio::spawn(check_store(|| {
        let mut memory = Memory::new(Upkeep::default());
        memory.objects = racy();
        // Without this it is found out at once, and the suite proves nothing.
        memory.options.check_service = false;
        memory
    }));
    let error = suite.await.expect_err("two writers succeed there");
    assert!(error.is_panic(), "{error}");
}

#[tokio::test]
async fn the_suite_passes_over_the_same_service_when_it_does_it_in_one() {
    check_store(|| {
        let mut memory = Memory::new(Upkeep::default());
        memory.objects = Arc::new(RacyObjects::new(Arc::new(InMemory::new()), 0));
        memory
    })
    .await;
}

async fn refusal(objects: Arc<dyn ObjectStore>) -> String {
    let store = ObjectStateStore::new(objects.clone(), "p", ObjectOptions::default());
    let error = store.create(creation()).await.expect_err("it is refused");
    let left = object_store::ObjectStoreExt::get(&objects, &Path::from("p/manifest.json")).await;
    assert!(left.is_err(), "nothing is created there");
    error.to_string()
}

#[tokio::test]
async fn no_state_is_created_where_several_writers_can_succeed() {
    let text = refusal(racy()).await;
    assert!(
        text.contains("lets several writers replace the same version"),
        "{text}"
    );
}

#[tokio::test]
async fn no_state_is_created_where_conditions_are_ignored() {
    for (ignored, says) in [
        (Ignored::Create, "ignores `If-None-Match: *`"),
        (Ignored::Update, "ignores `If-Match`"),
    ] {
        let text = refusal(Arc::new(Unconditional(InMemory::new(), ignored))).await;
        assert!(text.contains(says), "{text}");
    }
}

/// Which condition is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ignored {
    Create,
    Update,
}

/// Object storage that overwrites whatever is there.
#[derive(Debug)]
struct Unconditional(InMemory, Ignored);

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unconditional")
    }
}

#[async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        match (&opts.mode, self.1) {
            (PutMode::Create, Ignored::Create) | (PutMode::Update(_), Ignored::Update) => {
                opts.mode = PutMode::Overwrite;
            }
            _ => {}
        }
        self.0.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
