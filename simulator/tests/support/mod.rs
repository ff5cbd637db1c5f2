//! Words the tests share.
#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall_simulator::{Config, PathTruth, Simulator, Truth};

pub const EAST: &str = "azure/eastus";

pub struct Cloud {
    pub simulator: Simulator,
    pub client: reqwest::Client,
}

pub async fn cloud() -> Cloud {
    cloud_of(Config::default()).await
}

pub async fn cloud_from(yaml: &str) -> Cloud {
    cloud_of(Config::from_yaml_or_json(yaml).unwrap()).await
}

async fn cloud_of(config: Config) -> Cloud {
    let client = clients().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Cloud { simulator: Simulator::start(config).await.unwrap(), client }
}

impl Cloud {
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.regions()[0].url)
    }

    pub fn address(&self) -> String {
        self.simulator.regions()[0].url.trim_start_matches("http://").to_owned()
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.get(self.url(path)).send().await
    }

    pub async fn chat(&self, path: &str, body: Value) -> reqwest::Response {
        self.client.post(self.url(path)).json(&body).send().await.unwrap()
    }

    pub async fn fault(&self, fault: Value) -> u64 {
        let url = format!("{}/admin/faults", self.simulator.admin_url());
        let response = self.client.post(url).json(&fault).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_u64().unwrap()
    }

    pub async fn heal(&self) {
        let url = format!("{}/admin/faults", self.simulator.admin_url());
        assert_eq!(self.client.delete(url).send().await.unwrap().status(), 200);
    }

    pub async fn truth_over_http(&self) -> Truth {
        let url = format!("{}/admin/truth", self.simulator.admin_url());
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The first region's totals once nothing is in flight.
    pub async fn settled(&self) -> PathTruth {
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            let total = self.simulator.truth().regions[EAST].total.clone();
            if total.in_flight == 0 || Instant::now() > patience {
                return total;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn hello(max_tokens: u32, stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": max_tokens, "stream": stream})
}

/// Clients that go straight to the simulator.
pub fn clients() -> reqwest::ClientBuilder {
    // Built with the whole workspace, reqwest has TLS and wants to be told whose; a second telling changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: Option<String>,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|cause| panic!("{cause}: {}", self.data))
    }
}

/// Reads a stream by the grammar of server-sent events: any line end, comments, data of several lines.
pub fn events(text: &str) -> Vec<Event> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut name, mut data) = (Vec::new(), None, Vec::new());
    // What follows the last line end is no line.
    for line in text.split('\n').collect::<Vec<_>>().split_last().unwrap().1 {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "" if line.is_empty() && !data.is_empty() => {
                events.push(Event { name: name.take(), data: std::mem::take(&mut data).join("\n") });
            }
            "event" => name = Some(value),
            "data" => data.push(value),
            _ => {}
        }
    }
    events
}

/// The JSON of each event before `[DONE]`, which must be there, once and last.
pub fn chunks(text: &str) -> Vec<Value> {
    let mut events = events(text);
    assert_eq!(events.pop().unwrap().data, "[DONE]");
    events.iter().map(Event::json).collect()
}

/// All deltas of one field of a choice, joined.
pub fn joined(chunks: &[Value], choice: u64, field: &str) -> String {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
    let own = choices.filter(|found| found["index"] == choice);
    own.filter_map(|found| found["delta"][field].as_str().or(found[field].as_str())).collect()
}
