//! Objects in S3 and in what speaks its protocol, through aws-sdk-s3.
//!
//! The SDK signs, finds credentials and speaks the protocol; retrying, stalls and checksums of its own are switched off:
//! it does not retry a body that broke, reports a stall after six seconds only, and a checksum of the whole object cannot
//! be checked against a range. [`Reader`](crate::Reader) does what is needed.

use std::error::Error as StdError;
use std::ops::Range;

use async_trait::async_trait;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::service_config::ServiceConfigKey;

use crate::client::{self, Client as HttpClient};
use crate::connector::{Connector, Handover};
use crate::error::{chain, find, unanswered};
use crate::http::{ContentRange, Received};
use crate::{Body, Error, Object, Opened, Settings, Store, Version};

/// The variables that may name a file of root certificates, the first of them first.
const BUNDLES: [&str; 3] = ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

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
        let (client, region) = client(settings).await?;
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
    ) -> Result<Answer, Error> {
        let mut request = self.client.get_object().bucket(&self.bucket).key(self.full_key(key));
        request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        if let Some(Version::ETag(tag)) = version {
            request = request.if_match(tag);
        }
        let handover = Handover::default();
        let left = handover.clone();
        let request =
            request.customize().mutate_request(move |http| http.add_extension(left.clone()));
        let output =
            request.send().await.map_err(|error| self.failure(key, range, version, &error))?;
        let found = output.content_range().and_then(ContentRange::parse);
        let (Some(found), Some(body)) = (found.filter(|f| f.start == range.start), handover.take())
        else {
            let found = output.content_range;
            let object = self.locate(key);
            let status = if found.is_some() { 206 } else { 200 };
            return Err(Error::Range { object, range: range.clone(), status, found });
        };
        let version = output.e_tag.map_or(Version::Unknown, Version::ETag);
        Ok(Answer { found, version, body })
    }

    fn failure(
        &self,
        key: &str,
        range: &Range<u64>,
        version: Option<&Version>,
        error: &SdkError<GetObjectError, HttpResponse>,
    ) -> Error {
        let object = self.locate(key);
        let status = error.raw_response().map(|response| response.status().as_u16());
        match status {
            Some(412) => Error::Changed {
                object,
                planned: version.map_or(String::new(), ToString::to_string),
                found: "another version".into(),
            },
            Some(416) if range.start == 0 => Error::Empty { object },
            Some(status @ 416) => {
                Error::Range { object, range: range.clone(), status, found: None }
            }
            _ => failure(object, &self.region, error),
        }
    }
}

#[async_trait]
impl Store for S3 {
    fn locate(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.full_key(key))
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let Answer { found, version, body } = self.get(key, &(0..head_bytes), None).await?;
        let object = Object { key: key.into(), size: found.size, version };
        Ok(Opened { object, head: Received::boxed(body, self.locate(key)) })
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        let answer = self.get(&object.key, &range, Some(&object.version)).await?;
        let Answer { found, version, body } = answer;
        if version != object.version || found.size != object.size {
            return Err(Error::Changed {
                object: self.locate(&object.key),
                planned: format!("{} of {} bytes", object.version, object.size),
                found: format!("{version} of {} bytes", found.size),
            });
        }
        Ok(Received::boxed(body, self.locate(&object.key)))
    }
}

/// A range on its way.
struct Answer {
    found: ContentRange,
    version: Version,
    body: client::Body,
}

/// The SDK's client, and the region that it signs for.
pub(crate) async fn client(settings: &Settings) -> Result<(Client, String), Error> {
    let http = HttpClient::new(&BUNDLES);
    let shared = shared_config(settings, Connector::new(http.clone())).await;
    let endpoint = endpoint(settings, &shared)?;
    let mut config = aws_sdk_s3::config::Builder::from(&shared);
    config.set_endpoint_url(endpoint.clone());
    if endpoint.is_some() {
        config = config.force_path_style(true);
    }
    if !endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        http.prepare_tls();
    }
    let region = shared.region().map_or(REGION.into(), ToString::to_string);
    Ok((Client::from_conf(config.build()), region))
}

async fn shared_config(settings: &Settings, connector: Connector) -> SdkConfig {
    let region = RegionProviderChain::first_try(
        aws_config::environment::EnvironmentVariableRegionProvider::new(),
    )
    .or_else(ProfileFileRegionProvider::new())
    .or_else(Region::from_static(REGION));
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(connector)
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

/// The first that is named: here, for S3 in the environment or the profile, or for all services there. A variable without
/// a value names none.
fn endpoint(settings: &Settings, shared: &SdkConfig) -> Result<Option<String>, Error> {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL");
    let key = key.profile("endpoint_url").build().expect("a key is these three");
    let of_s3 = shared.service_config().and_then(|config| config.load_config(key));
    let of_all = shared.endpoint_url().map(str::to_owned);
    let mut named = [settings.s3_endpoint.clone(), of_s3, of_all].into_iter().flatten();
    let endpoint = named.find(|endpoint| !endpoint.trim().is_empty());
    endpoint.as_deref().map_or(Ok(()), check_endpoint)?;
    Ok(endpoint)
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

/// Why a request for `object` failed, signed for `region`.
pub(crate) fn failure<E: ProvideErrorMetadata + StdError + 'static>(
    object: String,
    region: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error {
    let Some(response) = error.raw_response() else {
        return no_answer(object, error);
    };
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default();
    let header = |name| response.headers().get(name).map(str::to_owned);
    match (status, code) {
        (404, "NoSuchBucket") => Error::NoBucket { object },
        (404, _) => Error::NotFound { object, hint: None },
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed") => Error::Region {
            object,
            asked: region.to_owned(),
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

/// No answer came: there were no credentials to ask with, or no connection to ask over.
fn no_answer<E: StdError + 'static>(object: String, error: &SdkError<E, HttpResponse>) -> Error {
    match error {
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            unanswered(object, error)
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => unanswered(object, error),
        _ if is_about_credentials(error) => {
            Error::Credentials { object, reason: no_credentials(error) }
        }
        _ => unanswered(object, error),
    }
}

/// The chain passes over a profile that is not there, without a word.
fn no_credentials(error: &dyn StdError) -> String {
    let reason = chain(error);
    match std::env::var("AWS_PROFILE") {
        Ok(profile) if !profile.is_empty() => {
            format!(
                "the profile `{profile}` that AWS_PROFILE names gives none, or is not there: {reason}"
            )
        }
        _ => reason,
    }
}

fn is_about_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    find::<CredentialsError>(error).is_some() || chain(error).contains("identity")
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
