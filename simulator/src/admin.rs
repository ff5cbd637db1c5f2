//! The admin server: faults are switched here, and the truth is read here.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::faults::{Fault, FaultBook};
use crate::identity::{Identity, is_ours};
use crate::query::Query;
use crate::region::Region;
use crate::truth::Truth;

const MAX_REQUEST_BYTES: usize = 64 << 10;
/// A listener closes and opens within milliseconds.
const LISTENER_PATIENCE: Duration = Duration::from_secs(2);

/// Switches faults and reads the truth of all regions.
pub(crate) struct Admin {
    regions: Vec<Arc<Region>>,
    identity: Option<Arc<Identity>>,
    faults: Mutex<FaultBook>,
    changed: Notify,
    start: Instant,
}

impl Admin {
    pub(crate) fn new(regions: Vec<Arc<Region>>, identity: Option<Arc<Identity>>) -> Arc<Self> {
        Arc::new(Self { regions, identity, faults: Mutex::default(), changed: Notify::new(), start: Instant::now() })
    }

    pub(crate) fn truth(&self) -> Truth {
        let regions = self.regions.iter().map(|region| (region.config.name.clone(), region.truth()));
        let identity = self.identity.as_ref().map(|identity| identity.truth());
        Truth { regions: regions.collect(), identity }
    }

    fn faults(&self) -> MutexGuard<'_, FaultBook> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Changes the faults, tells the regions, and returns once their listeners obey.
    async fn change<T>(&self, change: impl FnOnce(&mut FaultBook, u64) -> T) -> T {
        let changed = {
            let mut faults = self.faults();
            let now_us = self.now_us();
            faults.expire(now_us);
            let changed = change(&mut faults, now_us);
            self.publish(&faults);
            changed
        };
        self.changed.notify_one();
        for region in &self.regions {
            let mut listening = region.listening.subscribe();
            let obeyed = listening.wait_for(|listening| *listening != region.effect.borrow().down);
            if tokio::time::timeout(LISTENER_PATIENCE, obeyed).await.is_err() {
                tracing::warn!(region = region.config.name, "the listener has not changed yet");
            }
        }
        changed
    }

    /// Under the lock of the faults, so that the last change is the one that stays.
    fn publish(&self, faults: &FaultBook) {
        for region in &self.regions {
            let effect = faults.effect(&region.config.name);
            region.effect.send_if_modified(|current| {
                let is_new = *current != effect;
                *current = effect;
                is_new
            });
        }
    }

    /// Ends faults when their time is over, for as long as it is polled.
    pub(crate) async fn end_faults(self: Arc<Self>) {
        loop {
            let next_us = {
                let mut faults = self.faults();
                faults.expire(self.now_us());
                self.publish(&faults);
                faults.next_end_us()
            };
            match next_us {
                Some(next_us) => {
                    let end = tokio::time::Instant::from_std(self.start + Duration::from_micros(next_us));
                    // A new fault may end sooner.
                    let _ = tokio::time::timeout_at(end, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Serves until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let admin = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| admin.clone().answer(request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                if let Err(cause) = served {
                    tracing::debug!(%cause, "an admin connection ended early");
                }
            });
        }
        connections.shutdown().await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(identity) = self.identity.as_ref().filter(|_| is_ours(path)) {
            return Ok(tenants_answer(identity, &head.method, path, body).await);
        }
        let answered = match (&head.method, path) {
            (&Method::GET, "/healthz") => Ok(json!({"status": "ok"})),
            (&Method::GET, "/admin/regions") => Ok(self.regions_json()),
            (&Method::GET, "/admin/truth") => Ok(json!(self.truth())),
            (&Method::POST, "/admin/reset") => Ok(self.reset()),
            (&Method::GET, "/admin/faults") => Ok(self.faults_json()),
            (&Method::POST, "/admin/faults") => self.switch_on(body).await,
            (&Method::DELETE, "/admin/faults") => self.switch_off(Query::of(&head.uri).text("region")).await,
            (&Method::DELETE, path) if path.starts_with("/admin/faults/") => self.switch_off_one(path).await,
            (&Method::POST, "/admin/identity") => self.change_identity(body).await,
            (&Method::POST, "/admin/identity/revoke") => self.tenant().map(|identity| identity.revoke()),
            _ => Err((StatusCode::NOT_FOUND, "no such endpoint; see docs/simulator.md".to_owned())),
        };
        let (status, value) = answered
            .map_or_else(|(status, problem)| (status, json!({"error": problem})), |value| (StatusCode::OK, value));
        Ok(in_json(status, &value))
    }

    fn tenant(&self) -> Result<&Arc<Identity>, (StatusCode, String)> {
        let none = || (StatusCode::NOT_FOUND, "the configuration has no identity".to_owned());
        self.identity.as_ref().ok_or_else(none)
    }

    async fn change_identity(&self, body: Incoming) -> Result<Value, (StatusCode, String)> {
        let identity = self.tenant()?;
        let body = read(body).await?;
        identity.change(&body).map_err(|problem| (StatusCode::BAD_REQUEST, problem))
    }

    async fn switch_on(&self, body: Incoming) -> Result<Value, (StatusCode, String)> {
        let refused = |problem: String| (StatusCode::BAD_REQUEST, problem);
        let body = read(body).await?;
        let fault: Fault = serde_json::from_slice(&body).map_err(|cause| refused(cause.to_string()))?;
        if let Some(problem) = fault.problem() {
            return Err(refused(problem));
        }
        if let Some(name) = &fault.region {
            self.known(name)?;
        }
        let id = self.change(|faults, now_us| faults.add(now_us, fault)).await;
        Ok(json!({"id": id}))
    }

    async fn switch_off(&self, region: Option<String>) -> Result<Value, (StatusCode, String)> {
        if let Some(name) = &region {
            self.known(name)?;
        }
        let removed = self.change(|faults, _| faults.clear(region.as_deref())).await;
        Ok(json!({"removed": removed}))
    }

    async fn switch_off_one(&self, path: &str) -> Result<Value, (StatusCode, String)> {
        let id = path.rsplit('/').next().unwrap_or_default();
        let removed = match id.parse() {
            Ok(id) => self.change(|faults, _| faults.remove(id)).await,
            Err(_) => false,
        };
        if removed { Ok(json!({"removed": 1})) } else { Err((StatusCode::NOT_FOUND, format!("no fault `{id}`"))) }
    }

    fn known(&self, name: &str) -> Result<(), (StatusCode, String)> {
        if self.regions.iter().any(|region| region.config.name == name) {
            return Ok(());
        }
        let names: Vec<&str> = self.regions.iter().map(|region| region.config.name.as_str()).collect();
        Err((StatusCode::BAD_REQUEST, format!("region: no `{name}` here, but {}", names.join(", "))))
    }

    fn faults_json(&self) -> Value {
        let mut faults = self.faults();
        faults.expire(self.now_us());
        json!({"faults": faults.active()})
    }

    fn reset(&self) -> Value {
        for region in &self.regions {
            region.reset();
        }
        if let Some(identity) = &self.identity {
            identity.reset();
        }
        json!({"status": "reset"})
    }

    fn regions_json(&self) -> Value {
        let regions = self.regions.iter().map(|region| {
            let deployments = region.deployments.iter().map(|deployment| {
                let (in_service, queued) = deployment.engine.load();
                json!({"name": deployment.config.name, "in_service": in_service, "queued": queued})
            });
            json!({
                "name": region.config.name,
                "url": format!("http://{}", region.address),
                "listening": *region.listening.borrow(),
                "deployments": deployments.collect::<Vec<_>>(),
            })
        });
        json!({"regions": regions.collect::<Vec<_>>()})
    }
}

async fn read(body: Incoming) -> Result<Bytes, (StatusCode, String)> {
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
    body.map(|body| body.to_bytes())
        .map_err(|cause| (StatusCode::BAD_REQUEST, format!("the body can't be read: {cause}")))
}

fn in_json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

async fn tenants_answer(identity: &Identity, method: &Method, path: &str, body: Incoming) -> Response<Full<Bytes>> {
    let wanted = if path.ends_with("/token") { Method::POST } else { Method::GET };
    if *method != wanted {
        let problem = format!("{path} takes {wanted}");
        return in_json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": problem}));
    }
    let (status, value) = match read(body).await {
        Ok(body) => identity.answer(path, &body).await,
        Err((status, problem)) => (status, json!({"error": problem})),
    };
    in_json(status, &value)
}
