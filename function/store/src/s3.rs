//! Objects in S3 and in what speaks its protocol, through aws-sdk-s3.
//!
//! The SDK signs, finds credentials and speaks the protocol; retrying, stalls and checksums of its own are switched off:
//! it does not retry a body that broke, reports a stall after six seconds only, and a checksum of the whole object cannot
//! be checked against a range. [`Reader`](crate::Reader) does what is needed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use futures_util::StreamExt;
use futures_util::stream;

use crate::error::chain;
use crate::http::ContentRange;
use crate::resolver::CachingResolver;
use crate::settings::IDLE_CONNECTION;
use crate::{Chunks, Error, Object, Opened, Settings, Store, Version};

/// Where nobody names a region. S3 answers with the right one if it is wrong; asking the instance's metadata service
/// instead would cost a start outside of AWS whole seconds.
const REGION: &str = "us-east-1";

/// The objects below one prefix of one bucket.
pub struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    region: String,
}

impl S3 {
    /// A client with the default chain's credentials, which are looked for at the first request.
    pub async fn connect(bucket: &str, prefix: &str, settings: &Settings) -> Result<Self, Error> {
        let shared = shared_config(settings).await;
        let endpoint = settings.s3_endpoint.as_deref().or(shared.endpoint_url());
        let mut config = aws_sdk_s3::config::Builder::from(&shared);
        if let Some(endpoint) = endpoint {
            check_endpoint(endpoint)?;
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        config = config.http_client(http_client(plain));
        let region = shared.region().map_or(REGION.into(), ToString::to_string);
        let client = Client::from_conf(config.build());
        Ok(Self { client, bucket: bucket.into(), prefix: prefix.into(), region })
    }

    fn full_key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.into() } else { format!("{}/{key}", self.prefix) }
    }

    async fn get(
        &self,
        key: &str,
        range: &Range<u64>,
        version: Option<&Version>,
    ) -> Result<(GetObjectOutput, ContentRange), Error> {
        let mut request = self.client.get_object().bucket(&self.bucket).key(self.full_key(key));
        request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        if let Some(Version::ETag(tag)) = version {
            request = request.if_match(tag);
        }
        let output =
            request.send().await.map_err(|error| self.failure(key, range, version, &error))?;
        let found = output.content_range().and_then(ContentRange::parse);
        let Some(found) = found.filter(|found| found.start == range.start) else {
            let found = output.content_range.clone();
            let object = self.locate(key);
            let status = if found.is_some() { 206 } else { 200 };
            return Err(Error::Range { object, range: range.clone(), status, found });
        };
        Ok((output, found))
    }

    fn failure(
        &self,
        key: &str,
        range: &Range<u64>,
        version: Option<&Version>,
        error: &SdkError<GetObjectError, HttpResponse>,
    ) -> Error {
        let object = self.locate(key);
        let Some(response) = error.raw_response() else {
            return unanswered(object, error);
        };
        let status = response.status().as_u16();
        let code = error.code().unwrap_or_default();
        let header = |name| response.headers().get(name).map(str::to_owned);
        match (status, code) {
            (404, "NoSuchBucket") => Error::NoBucket { object },
            (404, _) => Error::NotFound { object, hint: None },
            (412, _) => Error::Changed {
                object,
                planned: version.map_or(String::new(), ToString::to_string),
                found: "another version".into(),
            },
            (416, _) if range.start == 0 => Error::Empty { object },
            (416, _) => Error::Range { object, range: range.clone(), status, found: None },
            (301 | 307, _) | (400, "AuthorizationHeaderMalformed") => Error::Region {
                object,
                asked: self.region.clone(),
                found: header("x-amz-bucket-region").or_else(|| region_in(response)),
            },
            (401 | 403, _) | (_, "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken") => {
                let hint = denied_hint(code);
                Error::Denied { object, status, code: code.into(), hint }
            }
            _ => {
                let message = error.message().unwrap_or_default();
                Error::Status { object, status, code: format!("{code} {message}") }
            }
        }
    }
}

#[async_trait]
impl Store for S3 {
    fn locate(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.full_key(key))
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let (output, found) = self.get(key, &(0..head_bytes), None).await?;
        let version = output.e_tag.clone().map_or(Version::Unknown, Version::ETag);
        let object = Object { key: key.into(), size: found.size, version };
        Ok(Opened { object, head: chunks(output.body, self.locate(key)) })
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Chunks, Error> {
        let (output, found) = self.get(&object.key, &range, Some(&object.version)).await?;
        let tag = output.e_tag.clone().map_or(Version::Unknown, Version::ETag);
        if tag != object.version || found.size != object.size {
            return Err(Error::Changed {
                object: self.locate(&object.key),
                planned: format!("{} of {} bytes", object.version, object.size),
                found: format!("{tag} of {} bytes", found.size),
            });
        }
        Ok(chunks(output.body, self.locate(&object.key)))
    }
}

fn chunks(body: ByteStream, object: String) -> Chunks {
    let object: Arc<str> = object.into();
    stream::unfold((body, object), |(mut body, object)| async move {
        let chunk = body.next().await?.map_err(|error| Error::Connection {
            object: object.to_string(),
            reason: chain(&error),
        });
        Some((chunk, (body, object)))
    })
    .boxed()
}

async fn shared_config(settings: &Settings) -> aws_config::SdkConfig {
    let region = RegionProviderChain::first_try(
        aws_config::environment::EnvironmentVariableRegionProvider::new(),
    )
    .or_else(ProfileFileRegionProvider::new())
    .or_else(Region::from_static(REGION));
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(WhenAsked::default())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let loader = match &settings.s3_keys {
        _ if settings.s3_anonymous => loader.no_credentials(),
        Some((id, secret)) => {
            loader.credentials_provider(Credentials::new(id, secret, None, None, "settings"))
        }
        None => loader,
    };
    loader.load().await
}

/// The client that roles and tokens are asked with, made when that happens. Making it loads 150 root certificates, which
/// is half of the way to the first request where keys are in the environment and S3 is near.
#[derive(Debug, Default)]
struct WhenAsked(OnceLock<SharedHttpClient>);

impl HttpClient for WhenAsked {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.get_or_init(|| http_client(false)).http_connector(settings, components)
    }
}

/// Without TLS where none is spoken: loading the root certificates is most of what a TLS client costs at start.
fn http_client(plain: bool) -> SharedHttpClient {
    let builder = Builder::new().pool_idle_timeout(IDLE_CONNECTION);
    if plain {
        return builder.build_http();
    }
    let ring = Provider::Rustls(CryptoMode::Ring);
    builder.tls_provider(ring).build_with_resolver(CachingResolver::default())
}

fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let refuse =
        |reason: String| Error::Setting { what: "the S3 endpoint", value: endpoint.into(), reason };
    let url = url::Url::parse(endpoint).map_err(|error| refuse(error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(()),
        _ => Err(refuse("it is not of the form `http://host:port`".into())),
    }
}

/// No answer came: there were no credentials to ask with, or no connection to ask over.
fn unanswered(object: String, error: &SdkError<GetObjectError, HttpResponse>) -> Error {
    let reason = chain(error);
    match error {
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            Error::Connection { object, reason }
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
            Error::Connection { object, reason }
        }
        _ if is_about_credentials(error) => Error::Credentials { object, reason },
        _ => Error::Connection { object, reason },
    }
}

fn is_about_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    chain(error).contains("identity")
}

/// `<Region>` of S3's error document, which is where it stands when the signature names a wrong one.
fn region_in(response: &HttpResponse) -> Option<String> {
    let body = std::str::from_utf8(response.body().bytes()?).ok()?;
    let (_, rest) = body.split_once("<Region>")?;
    let (region, _) = rest.split_once("</Region>")?;
    Some(region.to_owned())
}

fn denied_hint(code: &str) -> Option<String> {
    let hint = match code {
        "SignatureDoesNotMatch" => "the secret key does not belong to the access key",
        "InvalidAccessKeyId" => {
            "the access key is not known there: check the account and the endpoint"
        }
        "RequestTimeTooSkewed" => "this machine's clock is wrong",
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" => {
            "the session's credentials have expired: get new ones"
        }
        "AccessDenied" | "Forbidden" | "" => {
            "the role needs s3:GetObject on the object (without s3:ListBucket, a missing object answers 403 too)"
        }
        _ => return None,
    };
    Some(hint.into())
}
