#!/usr/bin/env python3
"""Records what llama.cpp says about the demo model, for tests/golden.rs.

Usage: pip install xllamacpp gguf; make_golden.py MODEL.gguf OUT_DIR

Writes smollm2_tokens.json (text -> token ids) and smollm2_greedy.json (prompt ids, greedy tokens
and the five best log-probabilities of each step). The weights are first widened to f32, value by
value, into a temporary GGUF: with quantised weights llama.cpp rounds activations to 8 bits, which moves this
model's log-probabilities by 0.09 on average (0.4 at the 99th percentile) and would drown what the test looks for.
One thread, an f32 KV cache, no flash attention. The prompts below are the test's prompts: change them here only.
"""
import hashlib
import json
import os
import sys
import tempfile
import urllib.request

import gguf
import xllamacpp as xlc

STEPS = 56
TOP = 5

RAW_PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "1, 2, 3, 4, 5, 6, 7,",
    "The three primary colours are",
    "Water boils at",
    "import numpy as np\n\ndef softmax(x):\n",
    "In 1969, Neil Armstrong",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is 12 + 30?\nA:",
    "# Installation\n\nTo install the package, run:\n\n```bash\n",
    "La capitale de l'Espagne est",
]
LONG = (
    "A page table maps the positions of a sequence to pages of memory. Each page holds sixteen tokens. "
    "When a sequence grows past the end of its last page, the scheduler gives it another one; when the "
    "sequence ends, all of its pages return to the pool. "
)
CHAT_PROMPTS = [
    [("user", "Hello! Who are you?")],
    [("user", "Name three fruits.")],
    [("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")],
    [("user", "Write a haiku about the sea.")],
    [("user", "What is 2 + 2?"), ("assistant", "4"), ("user", "And times 10?")],
    [("user", "Translate to French: good morning")],
    [("user", "Write a Python function that reverses a string.")],
    [("user", "Summarise in one sentence: " + LONG * 4)],
    [("system", "You are a pirate."), ("user", "Where is the treasure?")],
    [("user", "请用中文介绍一下北京。")],
    [("user", "List the planets of the solar system in order.")],
    [("user", "Explain what an HTTP proxy does to a ten-year-old.")],
]


def tokenizer_texts():
    base = [
        "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "a", " a", "a ", "hello", " hello", "Hello world",
        "hello  world", "hello   world", "tabs\tand\nnewlines\n\n\nend", "trailing space ", " leading space",
        "1", "12", "123", "1234567890", "3.14159", "1,000,000", "0x1F", "v1.2.3", "2024-01-31T12:00:00Z", "a1b2c3",
        "½ ² ³ ① Ⅷ", "٣٤٥", "१२३", "it's", "I'll we've you're he'd I'm don't", "IT'S DON'T", "’s ‘quoted’ “double”",
        "你好，世界！", "こんにちは世界", "안녕하세요 세계", "Привет, мир", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم",
        "नमस्ते दुनिया", "สวัสดีชาวโลก", "naïve café résumé", "e\u0301 vs é", "ﬁ ligature", "Straße", "İstanbul", "🙂", "👩‍👩‍👧‍👦",
        "🇫🇷🇩🇪", "text🙂text", "🙂 🙂  🙂", "👍🏽 ok", "a\u200bb", "a\u00a0b", "\u3000全角", "\ufeffbom", "null\u0000byte",
        "!@#$%^&*()", "...", "…", "--", "—", "a-b_c", "snake_case camelCase", "(x)=>{return x+1;}", "{\"k\": [1, 2, null]}",
        "SELECT * FROM t WHERE a >= 10;", "for (int i = 0; i < n; ++i) {\n\ta[i] = 0;\n}", "    def f(self):\n        return 1\n",
        "<html><body>&nbsp;</body></html>", "https://example.com/a?b=c&d=%20e#f", "user@example.com", "C:\\Users\\x\\y.txt",
        "\\n is not \\t", "`code` **bold** _it_", "# Title\n\n- item\n- item 2\n", "|a|b|\n|-|-|\n", "$x^2 + y_1$", "∑∫√≈≠≤≥", "→←↑↓",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ab" * 40, "=" * 33, " " * 17 + "x", "\n" * 9, "\t\t\tx", "x\n\n y", " \t \n x",
        "supercalifragilisticexpialidocious", "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis",
        "|im_end|", "< |im_end|>", "im_start", "The end.<", "ÿþ", "ß", "\u0100\u0120", "ƒ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𠜎𠜱", "Z͑ͫ̓ͪa̴l̸g̷o",
    ]
    words = ["paged", "Attention", "42", "北京", "🙂", "it's", "x_1", "\n", "  ", "::", "Ünï", "(a)", "7.5%", "\t", "—", "fn()", "the", "1990s", "don't", "ок"]
    seed = 12345
    made = []
    for _ in range(160):
        out = ""
        for _ in range(3 + seed % 9):
            seed = (seed * 1103515245 + 12345) % 2**31
            out += words[(seed >> 8) % len(words)] + ["", " ", " ", "  ", "\n"][(seed >> 16) % 5]
        made.append(out)
    return list(dict.fromkeys(base + made + RAW_PROMPTS + [LONG]))


def widen(source, target):
    """Copies a GGUF file with every tensor as f32: the same values, no rounding."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    model, out_dir = sys.argv[1], sys.argv[2]
    folder = tempfile.TemporaryDirectory()  # gone at exit, with its 540 MB
    wide = os.path.join(folder.name, "wide.gguf")
    widen(model, wide)
    params = xlc.CommonParams()
    params.model.path = wide
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 4096, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.flash_attn_type = xlc.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xlc.ggml_type.GGML_TYPE_F32
    params.cache_prompt = False
    server = xlc.Server(params)
    address = server.listening_address

    def post(path, body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def tokenize(text, special):
        return post("/tokenize", {"content": text, "add_special": special, "parse_special": special})["tokens"]

    def complete(ids):
        body = {"prompt": ids, "n_predict": STEPS, "temperature": 0, "n_probs": TOP, "cache_prompt": False, "return_tokens": True}
        reply = post("/completion", body)
        # The server reports no probabilities for a token that ends inside a character: those steps hold null.
        tokens, top, steps = reply["tokens"], [], list(reply["completion_probabilities"])
        for token in tokens:
            step = steps.pop(0) if steps and steps[0]["id"] == token else None
            top.append(step and [[t["id"], round(t["logprob"], 5)] for t in step["top_logprobs"]])
        assert not steps, "every reported step belongs to a token"
        return tokens, top, reply["content"]

    with open(model, "rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
    about = {"reference": "llama.cpp via xllamacpp, weights widened to f32", "build": str(xlc.BUILD_INFO), "model_sha256": sha}
    texts = [{"text": t, "ids": tokenize(t, False)} for t in tokenizer_texts()]
    with open(f"{out_dir}/smollm2_tokens.json", "w") as f:
        rows = ",\n".join(json.dumps(t, ensure_ascii=True) for t in texts)
        f.write('{"about": %s,\n"texts": [\n%s\n]}\n' % (json.dumps(about), rows))

    cases = []
    for prompt in RAW_PROMPTS:
        cases.append({"raw": prompt, "prompt_ids": tokenize(prompt, True)})
    for turns in CHAT_PROMPTS:
        messages = [{"role": r, "content": c} for r, c in turns]
        text = post("/apply-template", {"messages": messages})["prompt"]
        cases.append({"messages": messages, "rendered": text, "prompt_ids": tokenize(text, True)})
    for case in cases:
        case["tokens"], case["top"], case["text"] = complete(case["prompt_ids"])
        print(repr(case["text"][:70]))
    with open(f"{out_dir}/smollm2_greedy.json", "w") as f:
        rows = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        f.write('{"about": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(about), rows))


if __name__ == "__main__":
    main()
