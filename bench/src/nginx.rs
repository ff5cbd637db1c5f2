//! The server under load: nginx, one process on one core, and its own count of
//! requests, so that no client is taken at its word.

use crate::process::{on_path, spawn_on};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(5);

pub struct Nginx {
    child: Child,
    port: u16,
    version: String,
    _dir: TempDir,
}

impl Nginx {
    /// `None` where it is not installed.
    pub fn start(core: usize) -> io::Result<Option<Self>> {
        let Some(program) = on_path("nginx")
            .or_else(|| Some("/usr/sbin/nginx".into()).filter(|path: &std::path::PathBuf| path.is_file()))
        else {
            return Ok(None);
        };
        let said = Command::new(&program).arg("-v").output()?;
        let version = String::from_utf8_lossy(&said.stderr).trim().rsplit('/').next().unwrap_or_default().to_owned();
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let conf = dir.path().join("nginx.conf");
        std::fs::write(&conf, configuration(port))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path()).arg("-c").arg(&conf).args(["-e", "error.log"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawn_on(core, &mut command)?;
        let mut nginx = Self { child, port, version, _dir: dir };
        nginx.wait_ready()?;
        Ok(Some(nginx))
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Requests answered since `earlier` was taken, without those for the status itself.
    pub fn requests_since(&self, earlier: Status) -> io::Result<u64> {
        Ok((self.status()?.requests - earlier.requests).saturating_sub(1))
    }

    pub fn status(&self) -> io::Result<Status> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(READY_WITHIN))?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Status::parse(&answer).ok_or_else(|| io::Error::other("nginx's status page is not as expected"))
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let began = Instant::now();
        while let Err(error) = self.status() {
            if began.elapsed() > READY_WITHIN || self.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("nginx does not start: {error}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What nginx says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub connections: u64,
    pub requests: u64,
}

impl Status {
    fn parse(answer: &str) -> Option<Self> {
        let mut lines = answer.lines().skip_while(|line| !line.starts_with("Active connections:"));
        let connections = lines.next()?.rsplit(' ').find_map(|word| word.parse().ok())?;
        let requests = lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()?;
        Some(Self { connections, requests })
    }
}

/// One process that serves and nothing else: no logs, connections kept for ever,
/// a body of 16 bytes.
fn configuration(port: u16) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 16000;
error_log stderr crit; pid nginx.pid;
events {{ worker_connections 12000; }}
http {{
  access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 'sixteen bytes..\\n'; }}
    location = /status {{ stub_status; }}
  }}
}}
"
    )
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_page_is_read() {
        let answer = "HTTP/1.1 200 OK\r\n\r\nActive connections: 291 \nserver accepts handled requests\n 16 16 31070 \nReading: 6 Writing: 179 Waiting: 106 \n";
        assert_eq!(Status::parse(answer), Some(Status { connections: 291, requests: 31_070 }));
    }
}
