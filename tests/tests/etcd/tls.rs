//! etcd that asks its clients who they are.

use crate::support::leads;
use squall_controller::etcd::{Coordinator, EtcdError, Options, RunStatus, TlsFiles};
use squall_tests::etcd::Etcd;
use squall_tests::machine;
use std::time::Duration;

async fn start(etcd: &Etcd, tls: TlsFiles) -> Result<Coordinator, EtcdError> {
    let mut options = Options::new(etcd.endpoints(), "tests", "only:1");
    options.tls = Some(tls);
    options.ttl = Duration::from_secs(3);
    Coordinator::start(options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_with_a_certificate_leads() {
    let _place = machine::shared();
    let etcd = Etcd::with_mutual_tls();
    let files = etcd.client_files();
    let tls = TlsFiles { ca: Some(files.ca), identity: Some((files.cert, files.key)) };
    let controller = start(&etcd, tls).await.unwrap();
    let term = controller.term(leads(&controller).await);
    term.put_status("r", &RunStatus::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_one_is_told_that_etcd_does_not_answer_it() {
    let _place = machine::shared();
    let etcd = Etcd::with_mutual_tls();
    let files = etcd.client_files();
    let refused = start(&etcd, TlsFiles { ca: Some(files.ca), identity: None }).await.err().expect("refused");
    assert!(matches!(refused, EtcdError::Unreachable { .. }), "{refused}");
    let nobody = Some((files.key.with_extension("none"), files.key.clone()));
    let refused = start(&etcd, TlsFiles { ca: None, identity: nobody }).await.err().expect("refused").to_string();
    assert!(refused.contains("client.none") && refused.contains("No such file"), "{refused}");
}
