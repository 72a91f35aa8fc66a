//! As much of S3 as is needed, over [`Objects`]: `GetObject`, `HeadObject`, `ListObjectsV2`, `PutObject`
//! of objects that fit into memory, and the few calls about buckets that clients make on their own. Requests come checked and parsed from s3s.

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use s3s::{
    Body, S3, S3Error, S3Request, S3Response, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    dto::{
        Bucket, BucketLocationConstraint, ETag, ETagCondition, GetBucketLocationInput,
        GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput,
        HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
        ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob,
        Timestamp,
    },
    s3_error,
};

use crate::{
    listing::list,
    objects::{Missing, Object, Objects},
};

/// The answers.
pub(crate) struct Backend {
    pub(crate) objects: Objects,
    pub(crate) region: String,
    pub(crate) allow_listing: bool,
}

#[async_trait]
impl S3 for Backend {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let object = self.find(&input.bucket, &input.key)?;
        Conditions::of_get(&input).check(&object)?;
        let size = object.data.len() as u64;
        let range = input.range.map(|range| range.check(size)).transpose()?;
        let content_range = range.as_ref().map(|range| content_range(range, size));
        let body = object.data.slice(as_index(range.unwrap_or(0..size)));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(body.len())),
            content_range,
            content_type: Some(CONTENT_TYPE.to_owned()),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.modified.into()),
            body: Some(StreamingBlob::from(Body::from(body))),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let object = self.find(&input.bucket, &input.key)?;
        Conditions::of_head(&input).check(&object)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(object.data.len())),
            content_type: Some(CONTENT_TYPE.to_owned()),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.modified.into()),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, .. } = request.input;
        self.check_bucket(&bucket)?;
        let is_only_new = match if_none_match {
            None => false,
            Some(condition) if condition.is_any() => true,
            Some(_) => return Err(s3_error!(NotImplemented, "`If-None-Match` takes `*` alone")),
        };
        let data = match body {
            Some(body) => collected(body).await?,
            None => Bytes::new(),
        };
        let put = self.objects.put(&bucket, &key, data, is_only_new);
        let e_tag = put.map(ETag::Strong).ok_or_else(|| {
            let message = "At least one of the pre-conditions you specified did not hold";
            S3Error::with_message(s3s::S3ErrorCode::PreconditionFailed, message)
        })?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(e_tag), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        if !self.allow_listing {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let objects =
            self.objects.list(&request.input.bucket).map_err(|what| self.missing(what))?;
        Ok(S3Response::new(list(&objects, request.input)))
    }

    async fn list_buckets(
        &self,
        _: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = |name| Bucket { name: Some(name), ..Bucket::default() };
        let buckets = self.objects.bucket_names().into_iter().map(bucket).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..Default::default() }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let bucket_region = Some(self.region.clone());
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..Default::default() }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check_bucket(&request.input.bucket)?;
        // The first region of all has no constraint to this day.
        let elsewhere = Some(self.region.clone()).filter(|region| region != "us-east-1");
        let location_constraint = elsewhere.map(BucketLocationConstraint::from);
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }
}

impl Backend {
    fn find(&self, bucket: &str, key: &str) -> S3Result<Object> {
        self.objects.find(bucket, key).map_err(|what| self.missing(what))
    }

    fn check_bucket(&self, bucket: &str) -> S3Result {
        let known = self.objects.bucket_names().iter().any(|name| name == bucket);
        if known { Ok(()) } else { Err(self.missing(Missing::Bucket)) }
    }

    /// Without the right to list a bucket, S3 does not say which keys are missing.
    fn missing(&self, what: Missing) -> S3Error {
        match what {
            Missing::Bucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            Missing::Key if self.allow_listing => {
                s3_error!(NoSuchKey, "The specified key does not exist.")
            }
            Missing::Key => s3_error!(AccessDenied, "Access Denied"),
        }
    }
}

/// The one pair of keys that signs, and whether a signature is needed.
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) allow_anonymous: bool,
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            Ok(SecretKey::from(self.secret_key.as_str()))
        } else {
            let message = "The AWS Access Key Id you provided does not exist in our records.";
            Err(S3Error::with_message(s3s::S3ErrorCode::InvalidAccessKeyId, message))
        }
    }
}

#[async_trait]
impl S3Access for Keys {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if self.allow_anonymous || context.credentials().is_some() {
            Ok(())
        } else {
            Err(s3_error!(AccessDenied, "Access Denied"))
        }
    }
}

/// What a request asks of the object's version, in the precedence of RFC 9110, section 13.2.2.
struct Conditions<'a> {
    matching: Option<&'a ETagCondition>,
    unmodified_since: Option<&'a Timestamp>,
    not_matching: Option<&'a ETagCondition>,
    modified_since: Option<&'a Timestamp>,
}

impl<'a> Conditions<'a> {
    fn of_get(input: &'a GetObjectInput) -> Self {
        Self {
            matching: input.if_match.as_ref(),
            unmodified_since: input.if_unmodified_since.as_ref(),
            not_matching: input.if_none_match.as_ref(),
            modified_since: input.if_modified_since.as_ref(),
        }
    }

    fn of_head(input: &'a HeadObjectInput) -> Self {
        Self {
            matching: input.if_match.as_ref(),
            unmodified_since: input.if_unmodified_since.as_ref(),
            not_matching: input.if_none_match.as_ref(),
            modified_since: input.if_modified_since.as_ref(),
        }
    }

    fn check(&self, object: &Object) -> S3Result {
        let modified = Timestamp::from(whole_seconds(object.modified));
        let stale = match (self.matching, self.unmodified_since) {
            (Some(expected), _) => !matches(expected, object),
            (None, Some(limit)) => modified > *limit,
            (None, None) => false,
        };
        if stale {
            let message = "At least one of the pre-conditions you specified did not hold";
            return Err(S3Error::with_message(s3s::S3ErrorCode::PreconditionFailed, message));
        }
        let known = match (self.not_matching, self.modified_since) {
            (Some(known), _) => matches(known, object),
            (None, Some(limit)) => modified <= *limit,
            (None, None) => false,
        };
        if known { Err(s3_error!(NotModified)) } else { Ok(()) }
    }
}

fn matches(condition: &ETagCondition, object: &Object) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == object.etag)
}

/// HTTP dates have no fractions of a second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let age = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(age.as_secs())
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn as_index(range: Range<u64>) -> Range<usize> {
    let index = |at| usize::try_from(at).expect("the range was checked against a slice");
    index(range.start)..index(range.end)
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("a slice is shorter than 2^63")
}

/// The whole body of a request; a client that goes away in the middle of it wrote nothing.
async fn collected(mut body: StreamingBlob) -> S3Result<Bytes> {
    let mut data = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| s3_error!(IncompleteBody))?;
        if data.len() + piece.len() > LIMIT_PUT_BYTES {
            return Err(s3_error!(EntityTooLarge, "Your proposed upload is too large"));
        }
        data.extend_from_slice(&piece);
    }
    Ok(data.into())
}

/// What is put here are results of tests.
const LIMIT_PUT_BYTES: usize = 64 << 20;

/// What S3 gives to objects that were put without a type.
const CONTENT_TYPE: &str = "binary/octet-stream";
