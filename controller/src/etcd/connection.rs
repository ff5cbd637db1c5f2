//! One member of the etcd cluster at a time, and the next one when it fails.
//!
//! The client's own balancing picks among all members it once reached, also one
//! that takes connections and answers nothing. So there is one client for one
//! member, made anew for the next member after every failure; files for TLS are
//! read again with it. A connection lives on the runtime that first uses it.
//!
//! No timeout is set on the channel, because it would end streams; every request
//! is bounded here instead.

use super::cache::Entry;
use super::error::EtcdError;
use super::options::{Options, TlsFiles};
use etcd_client::{Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions};
use squall_common::random::Random;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Answers may hold many plans; the client's own bound is 4 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Entries of one answer to a list.
const PAGE: i64 = 100;
/// How often each member is asked before a request counts as failed.
const ROUNDS: usize = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);

pub struct Connection {
    options: Arc<Options>,
    state: Mutex<State>,
}

struct State {
    /// Counts the failures; names the client in use, and by its remainder the member.
    turn: usize,
    client: Option<Client>,
    random: Random,
}

/// Why one request to one member failed.
pub enum Failed {
    /// It may have been done or not; another member may answer.
    Unknown(String),
    /// It was understood and not done.
    Refused(etcd_client::Error),
}

impl Connection {
    pub fn new(options: Arc<Options>) -> Self {
        let seed = crate::events::unix_ms() ^ (u64::from(std::process::id()) << 32);
        // Controllers don't all begin with the same member.
        let mut random = Random::at(seed, &[]);
        let turn = random.below(options.endpoints.len().max(1) as u64) as usize;
        Self { options, state: Mutex::new(State { turn, client: None, random }) }
    }

    /// A client for the member whose turn it is, and the turn.
    pub async fn client(&self) -> Result<(Client, usize), EtcdError> {
        let turn = {
            let state = self.state();
            if let Some(client) = &state.client {
                return Ok((client.clone(), state.turn));
            }
            state.turn
        };
        let endpoint = &self.options.endpoints[turn % self.options.endpoints.len()];
        let (ping_every, ping_timeout) = self.options.ping();
        let mut connect = ConnectOptions::new()
            .with_keep_alive(ping_every, ping_timeout)
            .with_connect_timeout(self.options.request_timeout())
            // A member without a quorum says so at once, and ends its streams.
            .with_require_leader(true);
        if let Some(files) = &self.options.tls {
            connect = connect.with_tls(tls(files)?);
        }
        // Connects with the first request; without users there is nothing to ask before.
        let client = Client::connect([endpoint], Some(connect)).await.map_err(|error| self.unreachable(&error))?;
        let mut state = self.state();
        if state.turn == turn {
            state.client = Some(client.clone());
        }
        Ok((client, turn))
    }

    /// The client of this turn failed: the next member's turn.
    pub fn failed(&self, turn: usize) {
        let mut state = self.state();
        if state.turn == turn {
            state.turn = turn.wrapping_add(1);
            state.client = None;
        }
    }

    /// The member in use is silent: the next one's turn, whoever else uses it.
    pub fn pass_turn(&self) {
        let turn = self.state().turn;
        self.failed(turn);
    }

    /// Asks one member, once, within the time for a request.
    pub async fn request<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let (client, turn) = self.client().await.map_err(|error| Failed::Unknown(error.to_string()))?;
        let limit = self.options.request_timeout();
        match tokio::time::timeout(limit, call(client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if EtcdError::is_unknown(&error) => {
                self.failed(turn);
                Err(Failed::Unknown(EtcdError::detail(&error)))
            }
            Ok(Err(error)) => Err(Failed::Refused(error)),
            Err(_) => {
                self.failed(turn);
                Err(Failed::Unknown(format!("no answer within {limit:?}")))
            }
        }
    }

    /// Asks one member after the other. Only for what may be done twice.
    pub async fn persistent<T, F>(&self, mut call: impl FnMut(Client) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = String::new();
        for attempt in 0..self.attempts() {
            match self.request(&mut call).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Refused(error)) => return Err(EtcdError::Refused(EtcdError::detail(&error))),
                Err(Failed::Unknown(detail)) => last = detail,
            }
            self.wait(attempt).await;
        }
        Err(self.unreachable_because(last))
    }

    /// Everything below a prefix, as of one revision.
    pub async fn list(&self, prefix: &str, keys_only: bool) -> Result<(i64, Vec<Entry>), EtcdError> {
        let mut end = prefix.as_bytes().to_vec();
        // Every prefix ends with `/`, whose successor is `0`.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let (mut from, mut revision, mut entries) = (prefix.as_bytes().to_vec(), 0, Vec::new());
        loop {
            let mut options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            if keys_only {
                options = options.with_keys_only();
            }
            let page = self
                .persistent(|client| {
                    let (from, options) = (from.clone(), options.clone());
                    async move {
                        client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES).get(from, Some(options)).await
                    }
                })
                .await?;
            if revision == 0 {
                revision = page.header().map_or(0, etcd_client::ResponseHeader::revision);
            }
            entries.extend(page.kvs().iter().map(Entry::from));
            match page.kvs().last() {
                Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                _ => return Ok((revision, entries)),
            }
        }
    }

    pub fn attempts(&self) -> usize {
        self.options.endpoints.len() * ROUNDS
    }

    /// Longer with every attempt, and never as long as anybody else.
    pub async fn wait(&self, attempt: usize) {
        let longest = self.options.request_timeout();
        let wait = FIRST_WAIT.saturating_mul(1 << attempt.min(10)).min(longest);
        let share = 0.5 + self.state().random.unit() / 2.0;
        tokio::time::sleep(wait.mul_f64(share)).await;
    }

    pub fn unreachable(&self, error: &etcd_client::Error) -> EtcdError {
        self.unreachable_because(EtcdError::detail(error))
    }

    pub fn unreachable_because(&self, detail: String) -> EtcdError {
        EtcdError::Unreachable { endpoints: self.options.endpoints.join(", "), detail }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tls(files: &TlsFiles) -> Result<TlsOptions, EtcdError> {
    let read = |path: &Path| {
        let why = |error: std::io::Error| EtcdError::File { path: path.to_owned(), why: error.to_string() };
        std::fs::read(path).map_err(why)
    };
    let mut tls = TlsOptions::new();
    if let Some(path) = &files.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
    }
    if let Some((certificate, key)) = &files.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}
