//! The gRPC services: [`cluster`] for agents, [`operator`] for the CLI.

mod cluster;
mod operator;

use crate::bundle::MAX_MESSAGE_BYTES;
use crate::identity::gate::Gate;
use crate::seat::Seat;
use squall_proto::cluster_server::ClusterServer;
use squall_proto::operator_server::OperatorServer;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Server;
use tonic::transport::server::Router;

/// L7 proxies swallow these, hence the heartbeats of the protocol itself; they find dead TCP connections.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Calls on one connection at a time: an agent has one, a CLI a few.
const MOST_STREAMS: u32 = 64;
/// Of one call: a token is the largest of them.
const HEADERS_BYTES: u32 = 16 << 10;
/// Streams that a client opened and reset at once, before its connection is closed.
const MOST_RESETS: usize = 64;

/// Both services behind a gate, ready to be served on TCP or in-process.
pub fn router(seat: impl Into<Seat>, gate: Gate) -> Router {
    let seat = seat.into();
    let gate = Arc::new(gate);
    let cluster = ClusterServer::new(cluster::ClusterService::new(seat.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let operator = OperatorServer::new(operator::OperatorService::new(seat))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .http2_max_header_list_size(HEADERS_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MOST_RESETS))
        .max_concurrent_streams(MOST_STREAMS)
        .add_service(gate.before(cluster))
        .add_service(gate.before(operator))
}
