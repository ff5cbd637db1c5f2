//! Serves the usual three regions until interrupted: `cargo run --example serve`.

use squall_simulator::{Config, Simulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => String::new(),
    };
    let simulator = Simulator::start(Config::from_yaml_or_json(&text)?).await?;
    eprint!("{}", simulator.banner());
    tokio::signal::ctrl_c().await?;
    simulator.stop().await;
    Ok(())
}
