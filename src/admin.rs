//! Metrics and health over HTTP, read-only, on a runtime that no traffic shares.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text format |
//! | `/livez` | 200 while the process answers |
//! | `/readyz` | 200 when every input listens and rules are loaded, else 503; lists stale sets and what outputs hold up |
//! | `/rules` | what `roje rules --format json` prints, with hits |
//! | `/sources?sort=messages&top=50` | what `roje sources --format json` prints |

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// What a running sensor tells about itself.
pub trait Report: Send + Sync + 'static {
    /// The metrics, brought up to date.
    fn metrics(&self) -> String;
    /// Whether it is ready, and what is amiss.
    fn readiness(&self) -> Readiness;
    /// Who sends, as `roje sources --format json` prints it; none for an order that nobody knows.
    fn sources(&self, sort: &str, top: usize) -> Option<Value>;
    /// The rule sets, as `roje rules --format json` prints them.
    fn rules(&self) -> Value;
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readiness {
    /// Every input listens.
    pub listening: bool,
    /// A rule set is in force.
    pub rules: bool,
    /// Sets whose last good version stands in, with the reason.
    pub stale: Vec<(String, String)>,
    /// Rule files of which nothing is in force, with the reason.
    pub refused: Vec<(String, String)>,
    /// What each output holds up, and why: a list of objects.
    pub outputs: Value,
    /// Where alerts lie until then.
    pub spool: Value,
}

impl Readiness {
    /// Ready to do its work.
    pub fn ready(&self) -> bool {
        self.listening && self.rules
    }
}

/// Binds the address; inert until [`serve`].
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until `stop` resolves.
pub async fn serve<R: Report>(
    listener: TcpListener,
    report: Arc<R>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics::<R>))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz::<R>))
        .route("/rules", get(rules::<R>))
        .route("/sources", get(sources::<R>))
        .with_state(report);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, routes).with_graceful_shutdown(stop).await
}

async fn metrics<R: Report>(State(report): State<Arc<R>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, report.metrics()).into_response()
}

async fn readyz<R: Report>(State(report): State<Arc<R>>) -> Response {
    let readiness = report.readiness();
    let status = if readiness.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let list = |pairs: &[(String, String)], key: &str| -> Vec<Value> {
        pairs.iter().map(|(name, reason)| json!({ key: name, "reason": reason })).collect()
    };
    let body = json!({
        "ready": readiness.ready(),
        "listening": readiness.listening,
        "rules": readiness.rules,
        "stale": list(&readiness.stale, "set"),
        "refused": list(&readiness.refused, "set"),
        "outputs": readiness.outputs,
        "spool": readiness.spool,
    });
    (status, Json(body)).into_response()
}

/// What is asked of `/sources`.
#[derive(serde::Deserialize)]
struct Wanted {
    sort: Option<String>,
    top: Option<usize>,
}

/// Senders told where nobody says how many.
pub const TOP: usize = 50;

async fn sources<R: Report>(State(report): State<Arc<R>>, Query(wanted): Query<Wanted>) -> Response {
    let sort = wanted.sort.as_deref().unwrap_or("messages");
    match report.sources(sort, wanted.top.unwrap_or(TOP)) {
        Some(sources) => Json(sources).into_response(),
        None => (StatusCode::BAD_REQUEST, "unknown order\n").into_response(),
    }
}

async fn rules<R: Report>(State(report): State<Arc<R>>) -> Json<Value> {
    Json(report.rules())
}
