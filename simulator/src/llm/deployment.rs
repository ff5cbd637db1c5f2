//! One deployment of a region: its model server, its gate and its books.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Books;
use super::admission::Admission;
use super::draft::Lengths;
use super::prefix_cache::PrefixCache;
use super::prompt::Prompt;
use super::truth::DeploymentTruth;
use crate::config::RegionConfig;
use crate::deployment_config::DeploymentConfig;
use crate::engine::Engine;

pub(crate) struct Deployment {
    pub(crate) config: DeploymentConfig,
    pub(crate) engine: Arc<Engine>,
    pub(crate) books: Arc<Books>,
    pub(crate) admission: Arc<Admission>,
    prefixes: Mutex<PrefixCache>,
}

impl Deployment {
    pub(crate) fn new(config: &DeploymentConfig, region: &RegionConfig) -> Self {
        let model = config.model.as_ref().unwrap_or(&region.model).clone();
        Self {
            engine: Engine::new(model),
            books: Arc::default(),
            admission: Arc::new(Admission::new(config)),
            prefixes: Mutex::new(PrefixCache::new(config.prompt_cache_idle_s)),
            config: config.clone(),
        }
    }

    pub(crate) fn truth(&self) -> DeploymentTruth {
        DeploymentTruth { admission: self.admission.truth(), ..self.books.truth() }
    }

    /// Starts the truth again.
    pub(crate) fn reset(&self) {
        self.books.reset();
        self.admission.reset();
    }

    /// Whether the content filter refuses one of these.
    pub(crate) fn filters(&self, prompts: &[Prompt]) -> bool {
        let words = &self.config.filtered_in_prompts;
        prompts.iter().any(|prompt| words.iter().any(|word| prompt.text.contains(word.as_str())))
    }

    pub(crate) fn prefixes(&self) -> MutexGuard<'_, PrefixCache> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
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
