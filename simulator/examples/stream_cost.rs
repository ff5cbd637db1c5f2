//! What a chunk costs the simulator: many streams at once, their chunks counted
//! by the simplest client there is, and the CPU time of the simulator's thread.
//!
//! `cargo run --release -p squall-simulator --example stream_cost [STREAMS] [TOKENS]`

use std::time::{Duration, Instant};

use squall_simulator::{Config, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const REGION: &str = "azure/eastus";
const SERVER_THREAD: &str = "simulator";
/// Linux counts CPU time in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let streams = arguments.next().unwrap_or(Ok(1_000))?;
    let tokens = arguments.next().unwrap_or(Ok(500))?;
    let config = Config::from_yaml_or_json(&format!(
        "regions: [{{name: {REGION}, model: {{capacity: {streams}, step_ms: 20, step_ms_per_sequence: 0, \
         prefill_tokens_per_s: 1000000000, prefill_chunk_tokens: 1000000}}}}]"
    ))?;
    let server = runtime(SERVER_THREAD)?;
    let simulator = server.block_on(async { tokio::spawn(Simulator::start(config)).await })??;
    let address = simulator.regions()[0].url.trim_start_matches("http://").to_owned();

    let clients = runtime("clients")?;
    let (before, start) = (cpu_s()?, Instant::now());
    let bytes = clients.block_on(async {
        let streams = (0..streams).map(|_| tokio::spawn(read_stream(address.clone(), tokens)));
        let mut bytes = 0;
        for stream in streams.collect::<Vec<_>>() {
            bytes += stream.await??;
        }
        Ok::<_, Box<dyn std::error::Error>>(bytes)
    })?;
    let (took, cpu) = (start.elapsed(), cpu_s()? - before);
    std::thread::sleep(Duration::from_millis(100));

    let truth = simulator.truth();
    let served = &truth.deployment(REGION, "gpt-4o").ok_or("no such deployment")?.streams;
    let chunks = served.output_chunks;
    println!("{streams} streams, {chunks} chunks, {bytes} bytes in {:.2} s", took.as_secs_f64());
    println!("completed {}, gaps p50 {} µs, p99 {} µs", served.completed, served.gap.p50_us, served.gap.p99_us);
    println!("simulator: {cpu:.2} s of CPU, {:.2} µs a chunk", cpu * 1e6 / chunks as f64);
    clients.block_on(simulator.stop());
    Ok(())
}

fn runtime(name: &str) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
}

async fn read_stream(address: String, tokens: u32) -> std::io::Result<usize> {
    let mut socket = TcpStream::connect(address).await?;
    let body = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}],\"stream\":true,\"max_tokens\":{tokens},\
         \"seed\":7,\"model\":\"gpt-4o\"}}"
    );
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    socket.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut buffer = vec![0; 4_096];
    let mut bytes = 0;
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(bytes),
            read => bytes += read,
        }
    }
}

/// CPU time of the simulator's thread so far, in seconds.
fn cpu_s() -> Result<f64, Box<dyn std::error::Error>> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let (name, rest) = stat.rsplit_once(')').ok_or("an odd stat file")?;
        if name.ends_with(SERVER_THREAD) {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            return Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_S);
        }
    }
    Err("the simulator's thread was not found".into())
}
