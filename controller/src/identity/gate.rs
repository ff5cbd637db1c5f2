//! The gate before both services: no byte of a call's body is read before it is
//! known who calls and that they may.

use super::access::{self, Call, Caller, Denied, Token, Trust};
use super::audit::{Audit, Entry};
use super::jwt::Tokens;
use super::peer::Peer;
use super::sparing::Sparing;
use crate::events::unix_ms;
use squall_proto::cluster_server::SERVICE_NAME as CLUSTER;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Status};

/// Denials written down, a minute; further ones are counted.
const DENIALS_A_MINUTE: u32 = 300;

/// The run that a call turned out to be about, told by the service for the audit log.
#[derive(Clone, Debug)]
pub struct About(pub String);

/// What a gate knows.
#[derive(Debug)]
pub struct Gate {
    pub trust: Trust,
    pub tokens: Option<Tokens>,
    pub audit: Option<Audit>,
    denials: Sparing,
}

impl Gate {
    pub fn new(trust: Trust, tokens: Option<Tokens>, audit: Option<Audit>) -> Self {
        Self { trust, tokens, audit, denials: Sparing::a_minute(DENIALS_A_MINUTE) }
    }

    /// Of a cluster that is one process: nobody else can call.
    pub fn in_process() -> Self {
        Self::new(Trust::Everyone("this process"), None, None)
    }

    /// A service behind this gate.
    pub fn before<S>(self: &Arc<Self>, service: S) -> Guarded<S> {
        Guarded { inner: service, gate: self.clone() }
    }

    /// Lets a call in, with its [`Caller`] beside it, or says why not.
    async fn admit(&self, peer: &Peer, call: Call<'_>, headers: &http::HeaderMap) -> Result<Caller, Denied> {
        let now_unix_s = i64::try_from(unix_ms() / 1_000).unwrap_or(i64::MAX);
        let token = match (&self.tokens, call) {
            (Some(tokens), Call::Operator(_)) => {
                let header = headers.get(http::header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
                tokens.check(header, now_unix_s).await
            }
            _ => Token::NotTaken,
        };
        access::admit(self.trust, peer, token, call, now_unix_s)
    }

    async fn note(&self, entry: &Entry, durable: bool) -> Result<(), Status> {
        let Some(audit) = &self.audit else { return Ok(()) };
        audit.write(entry, durable).await.map_err(|error| {
            tracing::error!(%error, "the audit log cannot be written");
            Status::internal("it cannot write its audit log, so it changes nothing; its own log says why")
        })
    }

    async fn note_denial(&self, peer: &Peer, method: &str, denied: &Denied) {
        tracing::debug!(who = %denied.who, method, why = %denied.why, "denied");
        let Some(untold) = self.denials.take() else { return };
        let outcome = "denied".to_owned();
        let mut entry = entry(&denied.who, None, peer, method, outcome);
        (entry.why, entry.untold) = (Some(denied.why.clone()), untold);
        // It is denied all the same; that the log is broken was said.
        let _ = self.note(&entry, false).await;
    }
}

fn entry(who: &str, role: Option<&'static str>, peer: &Peer, method: &str, outcome: String) -> Entry {
    Entry {
        at_unix_ms: unix_ms(),
        who: who.to_owned(),
        role,
        peer: peer.address.map(|address| address.to_string()).unwrap_or_default(),
        method: method.to_owned(),
        run: None,
        outcome,
        why: None,
        untold: 0,
    }
}

/// `not_found` and the like.
fn outcome(response: &http::Response<Body>) -> String {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let mut name = String::new();
    for (place, letter) in format!("{code:?}").char_indices() {
        if letter.is_uppercase() && place > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A service that only those reach who may.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that is ready now serves this call.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let gate = self.gate.clone();
        Box::pin(async move { Ok(guarded(gate, inner, request).await.unwrap_or_else(|status| status.into_http())) })
    }
}

async fn guarded<S>(
    gate: Arc<Gate>,
    mut inner: S,
    mut request: http::Request<Body>,
) -> Result<http::Response<Body>, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + NamedService,
{
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let call = if S::NAME == CLUSTER { Call::Session } else { Call::Operator(&method) };
    // Only pipes of this process come without one.
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer { address: None, certificate: None });
    let caller = match gate.admit(&peer, call, request.headers()).await {
        Ok(caller) => caller,
        Err(denied) => {
            gate.note_denial(&peer, &method, &denied).await;
            return Err(Status::new(denied.code, denied.why));
        }
    };
    let entry = |outcome| entry(&caller.who, caller.role.map(super::Role::name), &peer, &method, outcome);
    let changes = call != Call::Session && access::changes_something(&method);
    if changes {
        gate.note(&entry("asked".to_owned()), true).await?;
    }
    request.extensions_mut().insert(caller.clone());
    let Ok(response) = inner.call(request).await;
    if call != Call::Session {
        let mut entry = entry(outcome(&response));
        entry.run = response.extensions().get::<About>().map(|About(run)| run.clone());
        // What was done is done; that the log is broken was said, and nothing more will be done.
        let _ = gate.note(&entry, changes).await;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_named_as_grpc_names_them() {
        assert_eq!(outcome(&http::Response::new(Body::empty())), "ok");
        assert_eq!(outcome(&Status::failed_precondition("x").into_http()), "failed_precondition");
    }
}
