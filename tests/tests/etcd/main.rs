//! Several controllers on real etcd: who leads, whose writes count, and what
//! a watch still tells after everything went wrong with it.

mod election;
mod faults;
mod store;
mod support;
mod takeover;
mod tls;
mod watching;
