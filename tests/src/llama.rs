//! llama.cpp's OpenAI-compatible server: one that is not ours, with a model of
//! random weights made for the test. It does one answer at a time.

use crate::process::Process;
use crate::wait::{self, secs};
use crate::{binaries, ports};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

/// Tokens that prompt and answer may have together.
pub const CONTEXT: usize = 512;

/// The server; dropped, it is gone.
pub struct Llama {
    _process: Process,
    _dir: TempDir,
    port: u16,
}

impl Llama {
    /// Requests wait for the answer under way.
    pub fn that_queues() -> Self {
        Self::start("False")
    }

    /// A request breaks off the answer under way, if that is a stream: this server's default.
    pub fn that_interrupts() -> Self {
        Self::start("True")
    }

    fn start(interrupts: &str) -> Self {
        let dir = TempDir::with_prefix("squall-llama-").expect("a temporary directory");
        let mut command = Command::new(binaries::llama_python());
        command.arg(binaries::data("make_tiny_gguf.py")).arg(dir.path().join("tiny.gguf"));
        let mut writer = Process::start("make_tiny_gguf", command, dir.path());
        assert_eq!(writer.exit_code_within(secs(60)), 0, "no model was written:\n{}", writer.stderr());

        let port = ports::free();
        let mut command = Command::new(binaries::llama_python());
        command.args(["-m", "llama_cpp.server", "--model", "tiny.gguf", "--model_alias", "tiny"]);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--n_ctx", &CONTEXT.to_string()]);
        // More threads than one only wait for each other on so small a model.
        command.args(["--n_threads", "1", "--n_threads_batch", "1", "--interrupt_requests", interrupts]);
        command.current_dir(dir.path());
        let mut process = Process::start("llama-server", command, dir.path());
        // It listens once the model is loaded.
        wait::until("llama.cpp's server to listen", secs(60), || {
            assert_eq!(process.ended(), None, "the server ended:\n{}", process.stderr());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { _process: process, _dir: dir, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
