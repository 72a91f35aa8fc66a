//! Small objects of all buckets, whole: read by their version, and written where there was none.
//!
//! Here the whole exchange is a single small request; one that failed by no fault of its own is repeated a few times.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::time::sleep;

use crate::connector::Handover;
use crate::s3::{client, failure};
use crate::{Error, Settings};

/// A moment's trouble is over by the third; what is not, whoever asked may wish to know.
const ATTEMPTS: u32 = 3;
/// What S3 asks its clients to begin with.
const PAUSE: Duration = Duration::from_millis(100);

/// The objects of all buckets.
pub struct Buckets {
    client: Client,
    region: String,
}

/// An object's name.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key in it.
    pub key: &'a str,
}

/// One version of an object; the latest, where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// Its id, where the bucket keeps versions.
    pub id: Option<&'a str>,
    /// Its `ETag`, without quotes. Of no use beside an id.
    pub etag: Option<&'a str>,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Bytes,
    /// What its writer said that it is.
    pub content_type: Option<String>,
}

impl Buckets {
    /// A client with the default chain's credentials, which are looked for at the first request.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let (client, region) = client(settings).await?;
        Ok(Self { client, region })
    }

    /// An object of at most `limit_bytes`; [`Error::Changed`], where the one that was asked for was replaced.
    pub async fn read(
        &self,
        name: Name<'_>,
        which: Which<'_>,
        limit_bytes: u64,
    ) -> Result<Whole, Error> {
        repeated(|| self.read_once(name, which, limit_bytes)).await
    }

    /// Whether there is an object.
    pub async fn exists(&self, name: Name<'_>) -> Result<bool, Error> {
        let head = || async {
            let request = self.client.head_object().bucket(name.bucket).key(name.key);
            let answer = request.send().await;
            answer.map(drop).map_err(|error| failure(name.to_string(), &self.region, &error))
        };
        match repeated(head).await {
            Ok(()) => Ok(true),
            // Without the right to list, this is the answer for what is not there; writing it will tell.
            Err(error) if error.may_be_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes an object where there is none; says whether there was none.
    pub async fn create(&self, name: Name<'_>, content: Bytes) -> Result<bool, Error> {
        match repeated(|| self.create_once(name, content.clone())).await {
            Ok(()) => Ok(true),
            Err(Error::NotWritten { status: 412, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn read_once(
        &self,
        name: Name<'_>,
        which: Which<'_>,
        limit_bytes: u64,
    ) -> Result<Whole, Error> {
        let etag = which.etag.filter(|_| which.id.is_none()).map(|etag| format!("\"{etag}\""));
        let request = self.client.get_object().bucket(name.bucket).key(name.key);
        let request =
            request.set_version_id(which.id.map(str::to_owned)).set_if_match(etag.clone());
        let handover = Handover::default();
        let left = handover.clone();
        let request =
            request.customize().mutate_request(move |http| http.add_extension(left.clone()));
        let output = request.send().await.map_err(|error| match error.raw_response() {
            Some(response) if response.status().as_u16() == 412 => Error::Changed {
                object: name.to_string(),
                planned: etag.unwrap_or_default(),
                found: "another version".into(),
            },
            _ => failure(name.to_string(), &self.region, &error),
        })?;
        let size = output.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        if size > limit_bytes {
            return Err(Error::TooLarge { object: name.to_string(), size, limit: limit_bytes });
        }
        let Some(body) = handover.take() else {
            return Err(Error::Short { object: name.to_string(), range: 0..size, at: 0 });
        };
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let bytes = body.collect(limit).await.map_err(|error| Error::Connection {
            object: name.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Whole { bytes: bytes.into(), content_type: output.content_type })
    }

    async fn create_once(&self, name: Name<'_>, content: Bytes) -> Result<(), Error> {
        let request = self.client.put_object().bucket(name.bucket).key(name.key);
        let request = request.if_none_match("*").content_type("application/x-ndjson");
        let answer = request.body(ByteStream::from(content)).send().await;
        answer.map(drop).map_err(|error| match failure(name.to_string(), &self.region, &error) {
            Error::Denied { object, status, code, .. }
            | Error::Status { object, status: status @ 412, code } => {
                Error::NotWritten { object, status, code }
            }
            error => error,
        })
    }
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// `attempt`, until it succeeds, or fails for good.
async fn repeated<T, F: Future<Output = Result<T, Error>>>(
    attempt: impl Fn() -> F,
) -> Result<T, Error> {
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(error) if attempts < ATTEMPTS && may_pass(&error) => {
                tracing::debug!(%error, attempts, "again");
                sleep(PAUSE * 2_u32.pow(attempts)).await;
                attempts += 1;
            }
            result => return result,
        }
    }
}

/// Two that wrote at the same moment conflict; one of them then finds what the other wrote.
fn may_pass(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::Status { status: 409, .. })
}
