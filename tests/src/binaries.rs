//! Where the programs under test are: beside the test's own executable.

use std::path::PathBuf;

/// `target/PROFILE/NAME`.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own executable");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests stand in target/PROFILE/deps");
    let program = profile.join(name);
    assert!(program.is_file(), "{} is not built: run `make test`, which builds it first", program.display());
    program
}

/// nginx, which packages install outside of most users' path.
pub fn nginx() -> PathBuf {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx", "/opt/homebrew/bin/nginx"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_file());
    found.expect("nginx is not installed: run `make test`, or install the package nginx-light")
}

/// etcd, of the Debian package etcd-server or newer.
pub fn etcd() -> PathBuf {
    let places = ["/usr/bin/etcd", "/usr/local/bin/etcd", "/opt/homebrew/bin/etcd"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_file());
    found.expect("etcd is not installed: run `make test`, or install the package etcd-server")
}

/// Python with llama.cpp's server and the package gguf.
pub fn llama_python() -> PathBuf {
    let python = repository("target/llama-server/bin/python");
    assert!(python.is_file(), "llama.cpp's server is not installed: run `make need-llama`");
    python
}

/// A file of this repository, e.g. `examples/checkout.yaml`.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
