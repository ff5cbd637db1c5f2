//! One deployment of a region: its model server, its quota and its books.

use std::sync::{Arc, Mutex};

use super::account::Books;
use super::draft::Lengths;
use crate::config::{DeploymentConfig, RegionConfig};
use crate::engine::Engine;
use crate::quota::Quota;

pub(crate) struct Deployment {
    pub(crate) config: DeploymentConfig,
    pub(crate) engine: Arc<Engine>,
    pub(crate) books: Arc<Books>,
    pub(crate) quota: Mutex<Quota>,
}

impl Deployment {
    pub(crate) fn new(config: &DeploymentConfig, region: &RegionConfig) -> Self {
        let model = config.model.as_ref().unwrap_or(&region.model).clone();
        Self {
            engine: Engine::new(model),
            books: Arc::default(),
            quota: Mutex::new(Quota::new(config.requests_per_min, config.tokens_per_min)),
            config: config.clone(),
        }
    }

    pub(crate) fn lengths(&self) -> Lengths {
        Lengths {
            completion_p50: self.config.completion_tokens_p50,
            completion_p99: self.config.completion_tokens_p99,
            reasoning_p50: self.config.reasoning_tokens_p50,
            reasoning_p99: self.config.reasoning_tokens_p99,
        }
    }
}
