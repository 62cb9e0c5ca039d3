//! The finance page: files without secrets, which ask the admin API for what they show.
//!
//! They are part of the binary and come with a policy that lets the browser run and load nothing else.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{AdminError, nothing_here};
use crate::running::Running;

/// What the browser may do for this page: nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Headers of everything that this listener sends: nothing is kept, sniffed, framed, or told to others.
const EVERYWHERE: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

macro_rules! files {
    ($($name:literal)*) => {
        /// The page's files: name and text.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../dashboards/web/", $name)))),*];
    };
}

files! {
    "index.html" "style.css" "app.js" "api.js" "budgets.js"
    "chart.js" "costs.js" "icon.svg" "money.js" "parts.js" "place.js"
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        Some(_) | None => "text/html; charset=utf-8",
    }
}

fn file(running: &Running, name: &str) -> Option<Response> {
    // Without the owner's token nobody could sign in.
    running.world.load().settings.admin.token.as_ref()?;
    let (_, text) = FILES.iter().find(|(found, _)| *found == name)?;
    let head = [(header::CONTENT_TYPE, kind(name)), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Some((head, *text).into_response())
}

/// `GET /`.
pub(crate) async fn index(State(running): State<Arc<Running>>) -> Result<Response, AdminError> {
    match file(&running, "index.html") {
        Some(page) => Ok(page),
        None => Err(nothing_here().await),
    }
}

/// `GET /page/{file}`.
pub(crate) async fn part(
    State(running): State<Arc<Running>>,
    Path(name): Path<String>,
) -> Result<Response, AdminError> {
    match file(&running, &name) {
        Some(part) => Ok(part),
        None => Err(nothing_here().await),
    }
}

/// Adds the headers of this listener to a reply, where it has none of its own.
pub(super) async fn guarded(mut reply: Response) -> Response {
    for (name, value) in EVERYWHERE {
        reply.headers_mut().entry(name).or_insert(value);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_are_there_and_nothing_inline() {
        let text = |name: &str| FILES.iter().find(|(found, _)| *found == name).unwrap().1;
        let index = text("index.html");
        for rest in index.split("/page/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(FILES.iter().any(|(found, _)| *found == name), "{name}");
        }
        for (name, text) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            for line in text.lines().filter(|line| line.contains(" from \"./")) {
                let part = line.split("from \"./").nth(1).unwrap().split('"').next().unwrap();
                assert!(FILES.iter().any(|(found, _)| *found == part), "{name}: {part}");
            }
            for banned in ["innerHTML", "eval(", "document.write", "insertAdjacentHTML", "localStorage", "https://"] {
                assert!(!text.contains(banned), "{name}: {banned}");
            }
        }
        for banned in ["<script>", " style=", " onclick", "https://"] {
            assert!(!index.contains(banned), "{banned}");
        }
    }
}
