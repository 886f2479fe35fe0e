//! Health that tells the truth, without a credential (A1, A6, C10).

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jarvis_wire::health::{Health, ReadyQuery};
use serde_json::json;

use crate::api::{ApiError, App, extract};
use crate::metrics::RaftNumbers;

/// Applied state is fresh when a read index asked for this recently has been applied, ms: an election fits in.
const FRESH_MS: u128 = 2_000;

/// The process serves: version, uptime, number of secrets.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
pub(super) async fn healthz(State(app): State<App>) -> Json<Health> {
    let uptime = app.service.node().monotonic().saturating_sub(app.started);
    Json(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_secs: uptime.as_secs(),
        secrets_count: app.service.secrets_count(),
    })
}

/// The process serves.
#[utoipa::path(get, path = "/livez", responses((status = 200)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether this node can serve: unsealed, knows a leader, its applied state is fresh. `?for=stale`: whether it could at
/// least serve allowed stale reads. `?verbose` lists the checks.
#[utoipa::path(get, path = "/readyz", params(ReadyQuery), responses((status = 200), (status = 503)))]
pub(super) async fn readyz(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let query: ReadyQuery = extract::query(&mut parts).await?;
    let service = &app.service;
    let node = service.node();
    let age = node.staleness().map(|age| age.as_millis());
    let checks = match query.purpose.as_deref() {
        Some("stale") => vec![("stale_reads", service.can_serve_stale())],
        Some(_) => return Err(ApiError::invalid("bad query: `for` can only be `stale`")),
        None => vec![
            ("unsealed", !service.is_sealed()),
            (
                "leader",
                node.leader().is_some() && age.is_some_and(|age| age < FRESH_MS),
            ),
            ("fresh", age.is_some_and(|age| age < FRESH_MS)),
        ],
    };
    let ready = checks.iter().all(|(_, holds)| *holds);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if query.verbose.is_some() {
        let checks: serde_json::Map<_, _> = checks
            .into_iter()
            .map(|(name, holds)| (name.to_owned(), holds.into()))
            .collect();
        return Ok((
            status,
            Json(json!({ "ready": ready, "checks": checks, "age_ms": age.map(|age| age as u64) })),
        )
            .into_response());
    }
    Ok((status, if ready { "ready\n" } else { "not ready\n" }).into_response())
}

/// 200 on the leader, 503 elsewhere.
#[utoipa::path(get, path = "/leader", responses((status = 200), (status = 503)))]
pub(super) async fn leader(State(app): State<App>) -> Response {
    let node = app.service.node();
    let status = if node.leads() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "leader": node.leader(), "node": node.id() })),
    )
        .into_response()
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200)))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let node = app.service.node();
    let probe = node.probe();
    let metrics = &app.metrics;
    metrics.set_secrets(app.service.secrets_count());
    metrics.audit_events_up_to(node.with_view(|state| state.core.trail.seq));
    metrics.set_sealed(app.service.is_sealed());
    metrics.set_raft(RaftNumbers {
        role: &probe.role,
        term: probe.term,
        last_log: probe.last_log,
        applied: probe.applied,
    });
    metrics.set_peer_lags(&node.replication_lags());
    let now_s = i64::try_from(node.now_ms() / 1_000).unwrap_or(i64::MAX);
    for (which, ends_s) in &app.certificates {
        metrics.set_certificate_expiry(*which, Some(ends_s.saturating_sub(now_s)));
    }
    let due = app.service.next_rotation_due().await;
    let due_s = due.map(|due| i64::try_from(due / 1_000).unwrap_or(i64::MAX));
    metrics.set_next_rotation(due_s.map(|due_s| due_s.saturating_sub(now_s)));
    let stats = node.wal().stats();
    let micros = std::time::Duration::from_micros;
    metrics.set_fsync(
        micros(stats.last_flush_micros),
        micros(stats.max_flush_micros),
    );
    (
        [("content-type", "text/plain; version=0.0.4")],
        metrics.render(),
    )
        .into_response()
}
