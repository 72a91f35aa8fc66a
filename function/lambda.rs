//! The command that serves, as a Lambda function: events instead of connections.
//!
//! The load begins before the first event is asked for, and nothing waits for it. What is wrong with the settings, or
//! with the model, is told to whoever invokes the function, and then the process ends: what it says to its log alone is
//! seen by few.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use firstlight_serve::lambda::{
    Batch, BoxError, Content, Found, Lambda, Objects, Options, Place, Settings, Source, Task,
};
use firstlight_store::buckets::{Buckets, Name, Which};
use firstlight_store::{Error as StoreError, Settings as StoreSettings};
use firstlight_timeline::Timeline;
use tokio::sync::Mutex;

use crate::args::{FunctionArgs, InvokeMode, S3Place, S3Task, ServeArgs};
use crate::failure::Failure;
use crate::serve::Begun;
use crate::{memory, report, serve, start};

/// Answers events until the model fails.
pub(crate) fn function(args: ServeArgs, timeline: &Timeline) -> Result<(), Failure> {
    check(&args.function)?;
    if let Some(mebibytes) = args.function.function_memory {
        memory::limit(u64::from(mebibytes.get()) << 20);
    }
    report::begin(timeline, &args.report)?;
    let place = args.place.model()?;
    let http = serve::settings(&args.http)?;
    let args = Arc::new(args);
    let begun = Begun::begin(&args, http, place, timeline)?;
    let settings = settings(&args).unwrap_or_else(|failure| {
        begun.fail(&failure);
        Settings::default()
    });
    let lambda = Lambda::new(begun.server.clone(), settings);
    let ended = begun.runtime.block_on(lambda.run());
    let computed = begun.end();
    let written = report::write(&timeline.report(), &args.report.timeline);
    computed?;
    ended?;
    written
}

/// Lambda's own client would panic without them.
fn check(args: &FunctionArgs) -> Result<(), Failure> {
    let variables = [
        ("AWS_LAMBDA_FUNCTION_NAME", args.function_name.is_some()),
        ("AWS_LAMBDA_FUNCTION_VERSION", args.function_version.is_some()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", args.function_memory.is_some()),
    ];
    match variables.into_iter().find(|(_, is_set)| !is_set) {
        Some((variable, _)) => Err(Failure::NoFunction { variable }),
        None => Ok(()),
    }
}

fn settings(args: &ServeArgs) -> Result<Settings, Failure> {
    let function = &args.function;
    let streams = function.invoke_mode == InvokeMode::ResponseStream;
    let Some(bucket) = function.result_bucket.clone() else {
        return Ok(Settings { streams, batch: None });
    };
    let objects =
        Arc::new(Store { settings: start::settings(&args.store), buckets: Mutex::default() });
    let results = Place { bucket, prefix: function.result_prefix.clone() };
    let batch = Batch::new(objects, results, options(function))?;
    Ok(Settings { streams, batch: Some(batch) })
}

fn options(args: &FunctionArgs) -> Options {
    let place = |S3Place { bucket, prefix }| Place { bucket, prefix };
    let task = match args.s3_task {
        S3Task::Chat => Task::Chat,
        S3Task::Completion => Task::Completion,
        S3Task::Embedding => Task::Embedding,
    };
    Options {
        sources: args.s3_source.clone().map(place),
        task,
        template: args.s3_template.clone(),
        params: args.s3_params.0.clone(),
        limit_bytes: args.s3_limit.bytes,
    }
}

/// The store as the function sees it: nothing is asked of it until the first object is noticed, and most functions never
/// notice one.
struct Store {
    settings: StoreSettings,
    buckets: Mutex<Option<Arc<Buckets>>>,
}

impl Store {
    async fn buckets(&self) -> Result<Arc<Buckets>, StoreError> {
        let mut buckets = self.buckets.lock().await;
        if let Some(buckets) = &*buckets {
            return Ok(Arc::clone(buckets));
        }
        let connected = Arc::new(Buckets::connect(&self.settings).await?);
        *buckets = Some(Arc::clone(&connected));
        Ok(connected)
    }
}

#[async_trait]
impl Objects for Store {
    async fn read(&self, source: &Source, limit_bytes: u64) -> Result<Found, BoxError> {
        let name = Name { bucket: &source.bucket, key: &source.key };
        let which = Which { id: source.version_id.as_deref(), etag: source.etag.as_deref() };
        match self.buckets().await?.read(name, which, limit_bytes).await {
            Ok(whole) => {
                Ok(Found::Content(Content { bytes: whole.bytes, kind: whole.content_type }))
            }
            Err(StoreError::Changed { .. }) => Ok(Found::Replaced),
            Err(error) => Err(error.into()),
        }
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, BoxError> {
        Ok(self.buckets().await?.exists(Name { bucket, key }).await?)
    }

    async fn create(&self, bucket: &str, key: &str, content: Bytes) -> Result<bool, BoxError> {
        Ok(self.buckets().await?.create(Name { bucket, key }, content).await?)
    }

    async fn renew(&self) -> Result<(), BoxError> {
        *self.buckets.lock().await = None;
        Ok(())
    }
}
