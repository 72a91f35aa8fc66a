//! S3's error documents, for answers that faults give in place of s3s.

use hyper::{Response, StatusCode, header::CONTENT_TYPE};
use s3s::Body;

/// An error as S3 words it.
pub(crate) fn error(status: u16, code: &str) -> Response<Body> {
    let message = format!("The bucket was told to answer with {code}.");
    refuse(status, code, &message, None)
}

/// A signature for another region than the bucket's, `region`.
pub(crate) fn wrong_region(signed: &str, region: &str) -> Response<Body> {
    let message = format!(
        "The authorization header is malformed; \
         the region '{signed}' is wrong; expecting '{region}'"
    );
    refuse(400, "AuthorizationHeaderMalformed", &message, Some(region))
}

/// A bucket that lives at the endpoint of another `region`.
pub(crate) fn redirect(region: &str) -> Response<Body> {
    let message = "The bucket you are attempting to access must be addressed using the specified \
                   endpoint. Please send all future requests to this endpoint.";
    refuse(301, "PermanentRedirect", message, Some(region))
}

fn refuse(status: u16, code: &str, message: &str, region: Option<&str>) -> Response<Body> {
    let status = StatusCode::from_u16(status).expect("rules name statuses of HTTP");
    let region_element = region.map(|region| format!("<Region>{region}</Region>"));
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{message}</Message>{}</Error>",
        region_element.unwrap_or_default()
    );
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, "application/xml");
    if let Some(region) = region {
        response = response.header("x-amz-bucket-region", region);
    }
    response.body(Body::from(document)).expect("regions are letters, digits and hyphens")
}
