"""Files of weights, as names and tensors: safetensors, PyTorch's .bin and TensorFlow's .h5, whole or in shards.

Readers hand over one tensor at a time, mapped where the file allows it; writers take one at a time and leave either
the old state or the new one. Nothing here knows what the weights are for.
"""

from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_names import H5Layout
from deberta_core.checkpoint.named import NamedTensors
from deberta_core.checkpoint.tensors import TensorFile, TensorInfo, bfloat16_to_float32, float32_to_bfloat16
from deberta_core.checkpoint.weights import find_weights, open_weights, write_weights

__all__ = [
    "CheckpointError",
    "H5Layout",
    "NamedTensors",
    "TensorFile",
    "TensorInfo",
    "bfloat16_to_float32",
    "find_weights",
    "float32_to_bfloat16",
    "open_weights",
    "write_weights",
]
