//! The page at `/`: a playground for the one model, and the start of this instance as it is drawn.
//!
//! Its parts are in the binary, and nothing is fetched from anywhere else: a browser that is told so
//! by the policy below would not run anything else either, nor show it in a frame. The page has no
//! secret, so that everybody may see it; the script asks `/status` and the API, as any client would,
//! and with the key that it is given. All addresses are relative, so that it works below a prefix.
//!
//! The drawing of the start is the timeline's own, made anew whenever it is asked for.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use firstlight_timeline as timeline;

use crate::router::Routes;
use crate::{Server, model};

/// All that the page consists of.
pub(crate) fn routes() -> Routes {
    let parts =
        PARTS.iter().map(|part| (part.path, get(async |headers: HeaderMap| part.answer(&headers))));
    parts.chain([("/page/timeline", get(start))]).collect()
}

/// The start so far, as the page shows it.
async fn start(State(server): State<Server>) -> Response {
    let model = server.model();
    let is_over = model.state() == model::State::Failed;
    let drawn = model.timeline().report().html_part(is_over);
    with(drawn.into(), &[(CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-store")])
}

/// A file of the page.
struct Part {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

impl Part {
    /// It, or that it is what the browser has already.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag();
        let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let is_known = known.is_some_and(|tags| tags == "*" || tags.contains(&tag));
        let body = if is_known { Body::empty() } else { self.text.into() };
        let mut response = with(body, &[(CONTENT_TYPE, self.kind), (CACHE_CONTROL, "no-cache")]);
        let tag = HeaderValue::try_from(tag).expect("digits in quotes");
        response.headers_mut().insert(ETAG, tag);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    }

    /// Another text has another one.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

fn with(body: Body, headers: &[(HeaderName, &'static str)]) -> Response {
    let mut response = Response::new(body);
    for (name, value) in headers.iter().chain(&GUARDS) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const PARTS: [Part; 6] = [
    Part { path: "/", kind: HTML, text: include_str!("page/index.html") },
    Part { path: "/page/page.css", kind: CSS, text: include_str!("page/page.css") },
    Part { path: "/page/page.js", kind: SCRIPT, text: include_str!("page/page.js") },
    Part { path: "/page/timeline.css", kind: CSS, text: timeline::STYLE },
    Part { path: "/page/timeline.js", kind: SCRIPT, text: timeline::SCRIPT },
    Part { path: "/page/icon.svg", kind: "image/svg+xml", text: include_str!("page/icon.svg") },
];

/// What a browser is to hold the page to.
const GUARDS: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_small() {
        let bytes: usize = PARTS.iter().map(|part| part.text.len()).sum();
        assert!(bytes < 40_000, "{bytes}");
    }

    #[test]
    fn nothing_of_it_comes_from_elsewhere_and_nothing_has_its_style_or_script_in_place() {
        for part in &PARTS {
            let text = part.text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "href=\"//", "@import", "eval(", "<style", " style="]
            {
                assert!(!text.contains(foreign), "{}: {foreign}", part.path);
            }
        }
        let html = PARTS[0].text;
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"page/").count());
        for address in html.split(['"', ' ']).filter(|text| text.starts_with("page/")) {
            assert!(routed(&format!("/{address}")), "{address}");
        }
    }

    fn routed(path: &str) -> bool {
        path == "/page/timeline" || PARTS.iter().any(|part| part.path == path)
    }
}
