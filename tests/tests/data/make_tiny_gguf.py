"""Writes a llama model of random weights, about 600 kB: make_tiny_gguf.py OUT.gguf.

The same bytes every time. What it says is noise, one token a word or a character;
a server loads, counts and streams it like any other model. Needs gguf and numpy.
"""

import sys

import gguf
import numpy

DIMENSIONS, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 2048
SPACE = "\u2581"  # as SentencePiece writes it
WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so said what up its about
into than them can only other time new some could these two may first then do any like my now over such our man me even
most made after also did many off before must well back through years where much your way down should because long each
just state those people too mr how little good world make very year still see own work men day get here old life both
between being under three never know same last another while us might great go come since against right came take used
himself few house use place""".split()
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def vocabulary():
    """Tokens, their kinds and scores: control, every byte, characters, words."""
    control = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]
    every_byte = [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    unspoken = [(token, kind, 0.0) for token, kind in control + every_byte]
    texts = [SPACE] + [chr(code) for code in range(33, 127)] + [SPACE + word for word in WORDS]
    spoken = [(text, gguf.TokenType.NORMAL, -float(place)) for place, text in enumerate(texts, 1)]
    return unspoken + spoken, len(unspoken)


def write(path):
    random = numpy.random.default_rng(7)
    tokens, unspoken = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIMENSIONS)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIMENSIONS // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_types([int(kind) for _, kind, _ in tokens])
    writer.add_token_scores([score for _, _, score in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)

    def weights(scale, *shape):
        return (random.standard_normal(shape) * scale).astype(numpy.float32)

    ones = numpy.ones(DIMENSIONS, dtype=numpy.float32)
    writer.add_tensor("token_embd.weight", weights(0.5, len(tokens), DIMENSIONS))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{part}.weight", weights(0.2, DIMENSIONS, DIMENSIONS))
        for part in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{part}.weight", weights(0.2, FEED_FORWARD, DIMENSIONS))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(0.2, DIMENSIONS, FEED_FORWARD))
    writer.add_tensor("output_norm.weight", ones)
    output = weights(0.5, len(tokens), DIMENSIONS)
    output[:unspoken] = 0.0  # all but never said: pieces of characters would be held back by the server
    writer.add_tensor("output.weight", output)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])
