//! A controller's place in etcd, as a process that tests can stop and continue.
//!
//! It goes on writing in the last term it had, whatever it is told of its
//! leadership, until etcd refuses: so it is what a leader is that noticed nothing.
//!
//! Usage: etcd-candidate ENDPOINTS FLEET ADDRESS TTL_S RUN

use squall_controller::etcd::{Coordinator, EtcdError, Leadership, Options, RunStatus};
use std::time::Duration;

const WRITE_EVERY: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, fleet, address, ttl_s, run] = arguments.as_slice() else {
        eprintln!("usage: etcd-candidate ENDPOINTS FLEET ADDRESS TTL_S RUN");
        std::process::exit(2);
    };
    let mut options = Options::new(endpoints.split(',').map(str::to_owned).collect(), fleet, address);
    options.ttl = Duration::from_secs(ttl_s.parse().expect("TTL_S is a number"));
    let coordinator = Coordinator::start(options).await.expect("etcd answers");
    let mut leadership = coordinator.leadership();
    eprintln!("stands");
    loop {
        let led = leadership.wait_for(|now| matches!(now, Leadership::Leader(_))).await.expect("the session lives");
        let Leadership::Leader(fence) = led.clone() else { continue };
        drop(led);
        let revision = fence.create_revision;
        write_until_refused(&coordinator, fence, run).await;
        eprintln!("refused {revision}");
        let is_another =
            |now: &Leadership| !matches!(now, Leadership::Leader(fence) if fence.create_revision == revision);
        let _ = leadership.wait_for(is_another).await;
    }
}

async fn write_until_refused(coordinator: &Coordinator, fence: squall_controller::etcd::Fence, run: &str) {
    let term = coordinator.term(fence.clone());
    let mut has_begun = false;
    for sequence in 0.. {
        let status =
            RunStatus { phase: "running".into(), term: fence.create_revision, sequence, ..RunStatus::default() };
        let written = match has_begun {
            true => term.put_status(run, &status).await,
            false => term.take_over().await.map(|_| ()),
        };
        match written {
            Ok(()) if !has_begun => {
                has_begun = true;
                eprintln!("leads {}", fence.create_revision);
            }
            Ok(()) => tokio::time::sleep(WRITE_EVERY).await,
            Err(EtcdError::FenceGone) => return,
            Err(error) => eprintln!("not written: {error}"),
        }
    }
}
