//! The gRPC services: [`cluster`] for agents, [`operator`] for the CLI.

mod cluster;
mod operator;

use crate::bundle::MAX_MESSAGE_BYTES;
use crate::fleet::Controller;
use squall_proto::cluster_server::ClusterServer;
use squall_proto::operator_server::OperatorServer;
use std::time::Duration;
use tonic::transport::Server;
use tonic::transport::server::Router;

/// L7 proxies swallow these, hence the heartbeats of the protocol itself; they find dead TCP connections.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Both services, ready to be served on TCP or in-process.
pub fn router(controller: &Controller) -> Router {
    let cluster = ClusterServer::new(cluster::ClusterService::new(controller.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let operator = OperatorServer::new(operator::OperatorService::new(controller.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .tcp_nodelay(true)
        .add_service(cluster)
        .add_service(operator)
}
