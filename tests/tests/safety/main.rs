//! What plans may not do: reach other targets, go above ceilings, be of any
//! size, or tell secrets.

mod fleet;
mod kept;
mod limits;
mod secrets;
mod sizes;
