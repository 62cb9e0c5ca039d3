//! Every reason why the engine answers with an error: status, code and public text. The only place that knows statuses.

use crate::language::LanguageError;
use crate::scheduler::{Refused, SubmitError};
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use weir_wire::chat::RequestFault;
use weir_wire::fault::ErrorBody;

const CALLER: &str = "invalid_request_error";
const ENGINE: &str = "server_error";

/// An error answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub status: StatusCode,
    pub body: ErrorBody,
    /// Seconds after which to try again.
    retry_after_s: Option<u32>,
}

impl Fault {
    fn caller(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(CALLER, code, message), retry_after_s: None }
    }

    /// A parameter with a value that can't be used.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let mut fault = Self::caller(StatusCode::BAD_REQUEST, "invalid_value", message);
        fault.body = fault.body.with_param(param);
        fault
    }

    /// A parameter that this engine doesn't know how to honour, where leaving it out would change the answer.
    pub fn unsupported(param: &str, message: impl Into<String>) -> Self {
        let mut fault = Self::caller(StatusCode::BAD_REQUEST, "unsupported_parameter", message);
        fault.body = fault.body.with_param(param);
        fault
    }

    /// No such model here.
    pub fn unknown_model(model: &str) -> Self {
        let message = format!("the model `{model}` does not exist");
        let mut fault = Self::caller(StatusCode::NOT_FOUND, "model_not_found", message);
        fault.body = fault.body.with_param("model");
        fault
    }

    /// No such endpoint.
    pub fn not_found() -> Self {
        Self::caller(StatusCode::NOT_FOUND, "unknown_url", "no such endpoint")
    }

    /// No live call with this id.
    pub fn unknown_call(id: &str) -> Self {
        Self::caller(StatusCode::NOT_FOUND, "unknown_call", format!("no call with the id `{id}` is running"))
    }

    /// The endpoint exists, the method doesn't.
    pub fn wrong_method() -> Self {
        Self::caller(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the endpoint has another method")
    }

    /// A TCP request without the secret.
    pub fn unauthenticated() -> Self {
        Self::caller(StatusCode::UNAUTHORIZED, "invalid_api_key", "the bearer secret is missing or wrong")
    }

    /// The engine's own failure.
    pub fn internal(message: impl Into<String>) -> Self {
        let body = ErrorBody::new(ENGINE, "engine_error", message);
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, body, retry_after_s: None }
    }

    /// The scheduler took the call not; `param` is where the prompt came from.
    pub fn from_submit(error: &SubmitError, param: &str) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::Refused(Refused::TooLong { .. }) => {
                let mut fault = Self::caller(StatusCode::BAD_REQUEST, "context_length_exceeded", message);
                fault.body = fault.body.with_param(param);
                fault
            }
            SubmitError::Refused(Refused::Malformed(_)) => Self::invalid(param, message),
            SubmitError::Refused(Refused::TooMany(_)) => Self::invalid("n", message),
            SubmitError::Refused(Refused::Duplicate(_)) => {
                Self::caller(StatusCode::CONFLICT, "duplicate_call_id", message)
            }
            SubmitError::Refused(Refused::Full) => Self::unavailable("engine_busy", message),
            SubmitError::Gone(_) => Self::unavailable("engine_stopped", message),
        }
    }

    fn unavailable(code: &str, message: String) -> Self {
        let body = ErrorBody::new(ENGINE, code, message);
        Self { status: StatusCode::SERVICE_UNAVAILABLE, body, retry_after_s: Some(1) }
    }
}

impl From<RequestFault> for Fault {
    fn from(fault: RequestFault) -> Self {
        let code = match &fault {
            RequestFault::Json(_) => "invalid_json",
            RequestFault::Shape(_) => "invalid_request",
            RequestFault::Range { .. } | RequestFault::TwoCaps => "invalid_value",
            RequestFault::Part { .. } => "unsupported_content",
        };
        let mut answer = Self::caller(StatusCode::BAD_REQUEST, code, fault.to_string());
        if let Some(param) = fault.param() {
            answer.body = answer.body.with_param(param);
        }
        answer
    }
}

impl From<LanguageError> for Fault {
    fn from(error: LanguageError) -> Self {
        Self::invalid("messages", error.to_string())
    }
}

impl From<BytesRejection> for Fault {
    fn from(rejection: BytesRejection) -> Self {
        let status = rejection.status();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("the body is larger than {} bytes", super::BODY_BYTES_MAX);
            return Self::caller(status, "body_too_large", message);
        }
        Self::caller(StatusCode::BAD_REQUEST, "body_unreadable", "the body could not be read")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body.to_bytes()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
