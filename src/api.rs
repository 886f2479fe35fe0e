//! THE route table and the order of layers. A handler is a paragraph: parse, call, render.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use jarvis_wire::error::ErrorCode;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::limits::Limits;
use crate::metrics::{Certificate, Metrics};
use crate::service::{Service, ServiceError};

mod audit;
mod certificates;
mod cluster;
mod date;
mod debug;
mod document;
mod error;
mod extract;
mod health;
mod layers;
mod policy;
mod seal;
mod secrets;
mod tokens;

pub use error::ApiError;
pub use extract::{Connection, Listener};

/// What every handler may use. The layers between a connection and a handler clone it again and again: one pointer.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

struct AppInner {
    parts: AppParts,
    /// The number of the next request that brings no id.
    next_request: AtomicU64,
    date: date::DateHeader,
}

impl App {
    /// Makes it of its parts.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        let mut first = [0; 8];
        parts.service.node().env().random.fill(&mut first);
        Self(Arc::new(AppInner {
            parts,
            next_request: AtomicU64::new(u64::from_le_bytes(first)),
            date: date::DateHeader::default(),
        }))
    }

    /// For requests that bring no id: from a random beginning, one after the other. Ids are for tracing only (A11); asking
    /// the operating system for each costs a system call.
    fn number_request(&self) -> u64 {
        self.0.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// The `Date` header of an answer made now.
    fn date(&self) -> Option<HeaderValue> {
        self.0.date.at(self.service.node().env().clock.wall_ms())
    }
}

impl Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0.parts
    }
}

/// The parts of [`App`].
pub struct AppParts {
    /// What the server can do.
    pub service: Arc<Service>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is refused before it costs anything.
    pub limits: Arc<Limits>,
    /// When certificates of this node end, s since the Unix epoch.
    pub certificates: Vec<(Certificate, i64)>,
    /// Monotonic time of the start.
    pub started: std::time::Duration,
}

/// The description in `/openapi.json`; paths and schemas come from the handlers (A12).
#[derive(OpenApi)]
#[openapi(
    info(
        title = "jarvis-secretsd",
        description = "A replicated secrets server. Any node takes any request. Errors are {error, message, request_id}."
    ),
    components(schemas(jarvis_wire::secrets::Consistency, jarvis_wire::error::ErrorBody))
)]
struct Document;

/// Every route, and the OpenAPI document made from them.
fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::leader))
        .routes(routes!(health::metrics))
        .routes(routes!(secrets::write))
        .routes(routes!(secrets::read, secrets::delete))
        .routes(routes!(secrets::versions))
        .routes(routes!(secrets::undelete))
        .routes(routes!(secrets::destroy))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::batch))
        .routes(routes!(policy::show, policy::apply))
        .routes(routes!(policy::explain))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(certificates::create))
        .routes(routes!(tokens::revoke_certificate))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::transfer_leader))
        .routes(routes!(cluster::join_token))
        .routes(routes!(seal::status))
        .routes(routes!(seal::unseal))
        .routes(routes!(seal::seal))
        .routes(routes!(seal::add_slot))
        .routes(routes!(seal::remove_slot))
        .routes(routes!(seal::rotate_epoch))
        .routes(routes!(audit::trail))
        .routes(routes!(debug::raft))
        .routes(routes!(debug::state_hash))
        .split_for_parts()
}

/// The router with its layers. From the outside in: request id and error bodies, metrics, limits, the routes.
pub fn router(app: App) -> Router {
    let (routes, document) = routes();
    // Made once: the document does not change while the server runs.
    let document = document::text(&document);
    let document = axum::routing::get(move || {
        let document = document.clone();
        async move { ([("content-type", "application/json")], document) }
    });
    routes
        .route("/openapi.json", document)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // Bodies are bounded where they are read, so that what is too large is still answered (A7): handlers take the whole
        // request, never an extractor of axum's that reads a body.
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            layers::around,
        ))
        .with_state(app)
}

async fn unknown_path(request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    extract::drain(&mut body).await;
    let error = if parts.uri.path().starts_with("/secret/") {
        ServiceError::new(
            ErrorCode::InvalidRequest,
            "a '/' inside a secret's name travels as %2F: GET /secret/db%2Fpassword",
        )
    } else {
        ServiceError::new(
            ErrorCode::NotFound,
            "there is no such path; GET /openapi.json lists them",
        )
    };
    ApiError::from(error).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    extract::drain(&mut body).await;
    let message = format!(
        "{} is not possible on {}; GET /openapi.json lists what is",
        parts.method,
        parts.uri.path()
    );
    ApiError::from(ServiceError::new(ErrorCode::InvalidRequest, message)).into_response()
}
