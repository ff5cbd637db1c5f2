//! How the shape of a plan is described. One table ([`table`](super::table))
//! feeds the checks, the suggestions, `--set` and the JSON Schema, so that they
//! cannot come to disagree.

use super::node::Node;

/// A map with known keys.
pub(super) struct Object {
    /// Names the definition in the JSON Schema.
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) fields: &'static [Field],
    /// The field that a bare value in place of the map stands for.
    pub(super) shorthand: Option<&'static str>,
}

pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
    /// For readers; the code that builds the plan holds the value.
    pub(super) default: Option<&'static str>,
}

/// What may stand in one place.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Any single value, taken as text.
    Text,
    Bool,
    /// A whole number within both bounds.
    Count(u64, u64),
    /// Above zero.
    Duration,
    DurationOrZero,
    Rate,
    /// A whole number from 1, or a percentage.
    Share,
    /// Users (`50`) or a rate (`500/s`).
    Level,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Anything at all, handed on as JSON.
    Json,
    List(&'static Kind),
    /// Names chosen by the user.
    Map(&'static Kind),
    Object(&'static Object),
    /// One of several; they differ in being a single value, a list or a map,
    /// or are single values told apart by their text.
    Either(&'static [Kind]),
}

impl Object {
    pub(super) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// Whether a key of the map is none of ours: the likely reason for what seems missing.
    pub(super) fn misspelt(&self, node: &Node) -> bool {
        node.entries().iter().any(|entry| self.field(&entry.key).is_none())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.fields.iter().map(|field| field.key)
    }
}

impl Kind {
    pub(super) fn is_single(self) -> bool {
        !matches!(self, Self::Json | Self::List(_) | Self::Map(_) | Self::Object(_) | Self::Either(_))
    }

    /// For "expects …".
    pub(super) fn describe(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Count(..) => "a whole number".to_owned(),
            Self::Duration | Self::DurationOrZero => "a duration such as `30s`".to_owned(),
            Self::Rate => "a rate such as `500/s`".to_owned(),
            Self::Share => "a weight such as `2` or `50%`".to_owned(),
            Self::Level => "users (`50`) or a rate (`500/s`)".to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(" or ")
            }
            Self::Json => "any value".to_owned(),
            Self::List(of) => format!("a list, each item {}", of.describe()),
            Self::Map(_) => "a map of names to values".to_owned(),
            Self::Object(object) => {
                let keys: Vec<String> = object.keys().take(3).map(|key| format!("`{key}`")).collect();
                format!("a map with keys such as {}", keys.join(", "))
            }
            Self::Either(kinds) => kinds.iter().map(|kind| kind.describe()).collect::<Vec<_>>().join(", or "),
        }
    }
}
