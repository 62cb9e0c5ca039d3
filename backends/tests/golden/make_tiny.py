#!/usr/bin/env python3
"""Records the logits of a tiny random Llama, computed in f64 by numpy, for tests/tiny.rs.

Usage: pip install numpy; make_tiny.py OUT.json     writes the golden file
       make_tiny.py --check FOLDER                  compares this script with transformers' own logits: FOLDER holds
                                                    config.json, model.safetensors and golden.safetensors (ids, logits)

The weights are a formula (splitmix64 of tensor and element), so that the test makes the same ones and no weights are
stored. The forward pass follows Hugging Face's layout: rotation pairs dimension i with i + dim/2.
"""
import json
import struct
import sys

import numpy as np

CONFIG = {
    "model_type": "llama", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
}


def shapes(c):
    d, f, q, kv = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_key_value_heads"]
    yield "model.embed_tokens.weight", (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (d,)
        yield p + "self_attn.q_proj.weight", (q * c["head_dim"], d)
        yield p + "self_attn.k_proj.weight", (kv * c["head_dim"], d)
        yield p + "self_attn.v_proj.weight", (kv * c["head_dim"], d)
        yield p + "self_attn.o_proj.weight", (d, q * c["head_dim"])
        yield p + "post_attention_layernorm.weight", (d,)
        yield p + "mlp.gate_proj.weight", (f, d)
        yield p + "mlp.up_proj.weight", (f, d)
        yield p + "mlp.down_proj.weight", (d, f)
    yield "model.norm.weight", (d,)
    yield "lm_head.weight", (c["vocab_size"], d)


def noise(tensor, count):
    """Numbers in -1..1 with 24 bits: exact in f32."""
    with np.errstate(over="ignore"):
        z = np.uint64(tensor + 1) * np.uint64(1_000_003) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).astype(np.float32)


def made_weights(c):
    out = {}
    for index, (name, shape) in enumerate(shapes(c)):
        values = noise(index, int(np.prod(shape))).reshape(shape) * np.float32(0.25)
        out[name] = values + np.float32(1) if len(shape) == 1 else values
    return out


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    kinds = {"F32": np.float32, "I32": np.int32}
    return {
        name: np.frombuffer(data[slice(*t["data_offsets"])], kinds[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items() if name != "__metadata__"
    }


def forward(c, w, ids):
    w = {name: value.astype(np.float64) for name, value in w.items()}
    eps, dim = c["rms_norm_eps"], c["head_dim"]
    q_heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]

    def norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    count = len(ids)
    frequency = c["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
    angle = np.arange(count)[:, None] * np.concatenate([frequency, frequency])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def turn(x):
        half = np.concatenate([-x[..., dim // 2:], x[..., : dim // 2]], -1)
        return x * cos + half * sin

    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        h = norm(x, w[p + "input_layernorm.weight"])
        q = turn((h @ w[p + "self_attn.q_proj.weight"].T).reshape(count, q_heads, dim))
        k = turn((h @ w[p + "self_attn.k_proj.weight"].T).reshape(count, kv_heads, dim))
        v = (h @ w[p + "self_attn.v_proj.weight"].T).reshape(count, kv_heads, dim)
        k, v = (np.repeat(t, q_heads // kv_heads, 1) for t in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(dim)
        scores = np.where(np.tril(np.ones((count, count), bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hij,jhd->ihd", weights / weights.sum(-1, keepdims=True), v).reshape(count, -1)
        x = x + mixed @ w[p + "self_attn.o_proj.weight"].T
        h = norm(x, w[p + "post_attention_layernorm.weight"])
        gate = h @ w[p + "mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


def check(folder):
    with open(f"{folder}/config.json") as f:
        c = json.load(f)
    c.setdefault("rope_theta", c.get("rope_parameters", {}).get("rope_theta"))
    golden = read_safetensors(f"{folder}/golden.safetensors")
    got = forward(c, read_safetensors(f"{folder}/model.safetensors"), golden["ids"])
    print("largest difference from transformers:", np.abs(got - golden["logits"]).max())


def main():
    if sys.argv[1] == "--check":
        return check(sys.argv[2])
    weights = made_weights(CONFIG)
    ids = [(i * 37 + 11) % 256 for i in range(40)]
    logits = forward(CONFIG, weights, ids)
    path, greedy, gaps = list(ids), [], []
    for _ in range(24):
        last = np.sort(forward(CONFIG, weights, path)[-1])
        gaps.append(round(float(last[-1] - last[-2]), 6))
        greedy.append(int(forward(CONFIG, weights, path)[-1].argmax()))
        path.append(greedy[-1])
    rows = {str(i): [round(float(v), 6) for v in logits[i]] for i in (0, 15, 16, 39)}
    with open(sys.argv[1], "w") as f:
        json.dump({"config": CONFIG, "ids": ids, "rows": rows, "greedy": greedy, "gaps": gaps}, f, separators=(",", ":"))


if __name__ == "__main__":
    main()
