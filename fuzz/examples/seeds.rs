//! Writes the seeds of the corpus: `cargo run -p squall-fuzz --example seeds`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, bytes) in squall_fuzz::seeds::all() {
        let path = corpus.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&corpus))?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
