//! Who comes in and who does not: certificates, tokens, roles, and strangers.

mod certificates;
mod door;
mod roles;
mod tokens;
