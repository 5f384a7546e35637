"""Small checkpoints made by hand, with NumPy alone, and what is in a checkpoint for comparing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from deberta_core.checkpoint import TensorInfo, float32_to_bfloat16, open_weights, write_weights
from deberta_core.commits import Note
from deberta_core.heads import HEADS, h5_layout, weights
from tests.models.helpers import class_name, random_weights, small_config

FORMATS = (("pt", "safetensors"), ("pt", "bin"), ("tf", "h5"), ("tf", "safetensors"))
# One config for each way that names or shapes can differ, by head.
CASES = [(base, head, {}) for base in ("v1", "v2", "v3") for head in HEADS if head != "ForMaskedLM"] + [
    ("v1", "ForMaskedLM", {"mlm_head": "legacy"}),
    ("v2", "ForMaskedLM", {"mlm_head": "plain"}),
    ("v3", "ForMaskedLM", {"mlm_head": "emd"}),
    ("v3", "ForMaskedLM", {"mlm_head": "legacy", "tie_word_embeddings": False}),
    ("v1", "Model", {"talking_head": True, "type_vocab_size": 3, "position_biased_input": True}),
    ("v2", "ForTokenClassification", {"share_att_key": False, "embedding_size": 10, "conv_groups": 3}),
    ("v3", "Model", {"relative_attention": False, "pos_att_type": None}),
]
IDS = ["-".join([base, head, *map(str, changes.values())]) for base, head, changes in CASES]


def as_bits(array, dtype):
    """An array in a dtype; bfloat16 as its bits. Halves are rounded from float32, as models hold their weights."""
    if dtype in ("bfloat16", "float16"):
        array = array.astype(np.float32)
    return float32_to_bfloat16(array) if dtype == "bfloat16" else array.astype(dtype)


def entries(values, dtype="float32"):
    """Pairs for ``write_weights``."""
    return [(TensorInfo(name, value.shape, dtype), as_bits(value, dtype)) for name, value in values.items()]


def pytorch_values(config, head, seed=0):
    """Every weight as a PyTorch class saves it: an encoder alone has no prefix."""
    values = random_weights(config, head, seed=seed)
    return {(key.removeprefix("deberta.") if head == "Model" else key): value for key, value in values.items()}


def save_config(folder, config, head):
    folder.mkdir(parents=True, exist_ok=True)
    config.extra.update(architectures=[class_name(config, head)])
    config.save_pretrained(folder)


def write_checkpoint(folder, config, head, kind=("pt", "safetensors"), *, dtype="float32", shards=None, seed=0):
    """A folder as ``save_pretrained`` of either tree leaves it; float32 values are the same in every kind."""
    to, format = kind
    save_config(folder, config, head)
    if to == "pt":
        pairs, layout = entries(pytorch_values(config, head, seed), dtype), None
    else:
        table, layout = weights(config, head), h5_layout(config, head)
        values = random_weights(config, head, seed=seed)
        turned = {w.tf_name: values[key].T if w.transposed else values[key] for key, w in table.items()}
        pairs = entries(turned, dtype)
    write_weights(folder, pairs, format=format, naming=to, h5=layout, max_shard_size=shards)
    return folder


def write_pt(folder, values, *, config, head="Model", format="safetensors", dtypes=None, **options):
    """A PyTorch folder with exactly these tensors; ``dtypes`` names those that are not float32."""
    save_config(folder, config, head)
    dtypes = dtypes or {}
    pairs = [entries({name: value}, dtypes.get(name, "float32"))[0] for name, value in values.items()]
    write_weights(folder, pairs, format=format, naming="pt", **options)
    return folder


def contents(path):
    """Shape, dtype and bytes of every tensor by name."""
    with open_weights(path) as file:
        return {name: (info.shape, info.dtype, file.read_raw(name).tobytes()) for name, info in file.tensors.items()}


def listing(folder):
    """Every file of a folder with its bytes, and every link."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def command(*arguments, **options):
    """Run ``python -m conversion`` in a process of its own."""
    line = [sys.executable, "-m", "conversion", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, **options)


def edit_config(folder, **changes):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))


__all__ = [
    "CASES", "FORMATS", "IDS", "as_bits", "command", "contents", "edit_config", "entries", "listing", "pytorch_values",
    "random_weights", "save_config", "small_config", "write_checkpoint", "write_pt",
]  # fmt: skip


def left_half_way(folder, names):
    """As a kill leaves a commit of which these files are not yet in place."""
    note = Note(folder, ".deberta-0123456789abcdef", tuple(os.listdir(folder)), ())
    (folder / note.stage / "new").mkdir(parents=True)
    for name in names:
        os.replace(folder / name, folder / note.stage / "new" / name)
    note.write()
