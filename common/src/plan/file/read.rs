//! Checked texts as values. The shape was checked before: what does not parse
//! here has its problem already and reads as absent.

use super::node::Node;
use crate::units;
use std::time::Duration;

/// A point of a load profile, before the model is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    Users(f64),
    Rate(f64),
}

impl Node {
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.scalar()
    }

    pub(super) fn duration_of(&self, key: &str) -> Option<Duration> {
        units::parse_duration(self.text_of(key)?).ok()
    }

    pub(super) fn count_of(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_count()
    }

    pub(super) fn flag_of(&self, key: &str) -> Option<bool> {
        match self.text_of(key)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(super) fn as_count(&self) -> Option<u64> {
        let text = self.scalar()?;
        text.parse().ok().or_else(|| units::parse_count(text).ok())
    }

    pub(super) fn as_level(&self) -> Option<Level> {
        let text = self.scalar()?;
        if text.contains('/') {
            units::parse_rate(text).ok().map(Level::Rate)
        } else {
            units::parse_count(text).ok().map(|users| Level::Users(users as f64))
        }
    }

    pub(super) fn as_duration(&self) -> Option<Duration> {
        units::parse_duration(self.scalar()?).ok()
    }
}

impl Level {
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Users(value) | Self::Rate(value) => value,
        }
    }
}
