//! Planted secrets, looked for in everything that a run leaves behind.

use crate::fleet::{Fleet, contains, echo};
use squall_tests::machine;
use squall_tests::wait::{self, secs};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const OF_ENVIRONMENT: &str = "planted-env-8f3a61c09d";
const OF_SET: &str = "planted-set-55d0e2b7aa";
const OF_FILE: &str = "planted-file-old-1b7c";
const OF_FILE_LATER: &str = "planted-file-new-92fe";
const OF_BODY: &str = "planted-body-4410dd7e3f";
const ALL: [&str; 5] = [OF_ENVIRONMENT, OF_SET, OF_FILE, OF_FILE_LATER, OF_BODY];

/// Everything below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn secrets_reach_the_target_and_nothing_that_is_kept_logged_or_sent() {
    let _place = machine::shared();
    let vault = TempDir::with_prefix("squall-vault-").expect("a temporary directory");
    let (key, body) = (vault.path().join("key"), vault.path().join("body"));
    std::fs::write(&key, format!("{OF_FILE}\n")).expect("a secret");
    std::fs::write(&body, OF_BODY).expect("a secret");
    let (target, seen) = echo();
    let environment = [("SAFETY_ENV", OF_ENVIRONMENT), ("SAFETY_SET", OF_SET)];
    let fleet = Fleet::start(&[], &[], &environment);
    let (key_path, body_path) = (key.display(), body.display());
    // The answers hold the secrets: in headers, in bodies, in what steps extract and in what fails.
    let plan = format!(
        "
name: secrets
sample_log: true
keep_errors: {{per_target: 50, body_bytes: 4096}}
targets:
  t:
    url: http://{target}
    headers: {{authorization: 'Bearer ${{env:SAFETY_ENV}}', x-set: none}}
scenarios:
  s:
    steps:
      - post: /json
        headers: {{x-file: '${{file:{key_path}}}'}}
        json: {{key: '${{file:{body_path}}}', again: '${{env:SAFETY_ENV}}'}}
        extract: {{echo: {{regex: 'x-file: (\\S+)'}}}}
      - {{post: /text, body: 'key=${{file:{body_path}}} echo={{{{echo}}}}'}}
      - {{post: /form, form: {{key: '${{file:{body_path}}}'}}, checks: [{{body_contains: authorization}}]}}
      - {{post: /fails, body: '${{env:SAFETY_ENV}} ${{file:{key_path}}}'}}
    load: {{rate: 10/s, for: 6s}}
"
    );
    let ran = std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            let has = |text: &str| {
                wait::until(text, secs(30), || seen.lock().expect("requests").contains(text).then_some(()))
            };
            has(OF_FILE);
            std::fs::write(&key, format!("{OF_FILE_LATER}\n")).expect("a secret");
            has(OF_FILE_LATER);
        });
        let ran = fleet.run(&plan, &["--set", "targets.t.headers.x-set=${env:SAFETY_SET}"]);
        rotating.join().expect("the new value is used while the run goes on");
        ran
    });
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr);
    for secret in ALL {
        assert!(seen.lock().expect("requests").contains(secret), "{secret} came to the target");
        assert!(!fleet.wire.holds(secret), "{secret} went over the wire");
    }
    let files = files(fleet.dir.path());
    for path in &files {
        let content = std::fs::read(path).expect("a file");
        for secret in ALL {
            assert!(!contains(&content, secret), "{} holds {secret}", path.display());
        }
    }
    // The search looks where it should: the references are there.
    assert!(fleet.wire.holds("${env:SAFETY_ENV}") && fleet.wire.holds("${env:SAFETY_SET}"));
    for name in [
        "plan.yaml",
        "summary.json",
        "events.jsonl",
        "errors.jsonl",
        "squall.redb",
        "agent.stderr",
        "controller.stderr",
    ] {
        assert!(files.iter().any(|path| path.ends_with(name)), "{name} was searched: {files:?}");
    }
    assert!(files.iter().any(|path| path.display().to_string().contains("samples-")), "{files:?}");
    let errors = std::fs::read_to_string(fleet.dir.path().join("out/errors.jsonl")).expect("the kept errors");
    assert!(errors.contains("[secret]"), "what failed held secrets: {errors}");
    let resolved = std::fs::read_to_string(fleet.dir.path().join("out/plan.yaml")).expect("the resolved plan");
    assert!(resolved.contains("${env:SAFETY_SET}"), "{resolved}");
}

#[test]
fn a_run_says_where_its_figures_come_from_and_what_left_there() {
    let _place = machine::shared();
    let (target, _) = echo();
    let fleet = Fleet::start(&[], &["--region", "azure/eastus"], &[]);
    let ran = fleet.run(&format!("{{url: 'http://{target}/', rate: 10/s, hold_for: 1s}}"), &[]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a summary");
    assert_eq!(summary["data"]["regions_of_origin"], serde_json::json!(["azure/eastus"]));
    let left = summary["data"]["left_the_region"].as_array().expect("a list");
    assert!(left.contains(&"histograms".into()), "{left:?}");
}
