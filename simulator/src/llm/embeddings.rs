//! Embeddings: a unit vector for each input, which the input names.

use base64::Engine as _;
use serde_json::{Value, json};
use squall_common::random::Random;

use super::ask::Ask;
use super::events::Frame;
use super::truth::TokenTruth;

/// The answer; it is never streamed, and its usage has no completion tokens.
pub(crate) fn whole(ask: &Ask, frame: &Frame, tokens: TokenTruth) -> Value {
    let data = ask.prompts.iter().enumerate().map(|(index, prompt)| {
        let vector = unit_vector(prompt.hash(), ask.vectors.dimensions);
        let embedding: Value = match ask.vectors.is_base64 {
            true => in_base64(&vector).into(),
            false => vector.into(),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    json!({
        "object": "list", "data": data.collect::<Vec<Value>>(), "model": frame.model,
        "usage": {"prompt_tokens": tokens.prompt, "total_tokens": tokens.prompt},
    })
}

fn unit_vector(seed: u64, dimensions: u32) -> Vec<f32> {
    let mut random = Random::at(seed, &[]);
    let drawn: Vec<f64> = (0..dimensions).map(|_| random.unit() * 2.0 - 1.0).collect();
    let length = drawn.iter().map(|part| part * part).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    drawn.into_iter().map(|part| (part / length) as f32).collect()
}

/// Little-endian floats of 32 bits, as OpenAI packs them.
fn in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
