"""Files of weights, as names and tensors: safetensors, PyTorch's .bin and TensorFlow's .h5, whole or in shards.

Readers hand over one tensor at a time, mapped where the file allows it; writers take one at a time and leave either
the old state or the new one. Nothing here knows what the weights are for.
"""

from deberta_core.checkpoint.dtypes import bfloat16_to_float32, float32_to_bfloat16
from deberta_core.checkpoint.errors import CheckpointError
from deberta_core.checkpoint.h5_writer import H5Layout
from deberta_core.checkpoint.locate import find_weights
from deberta_core.checkpoint.opening import open_weights
from deberta_core.checkpoint.tensor_file import TensorFile, TensorInfo
from deberta_core.checkpoint.writing import write_weights

__all__ = [
    "CheckpointError",
    "H5Layout",
    "TensorFile",
    "TensorInfo",
    "bfloat16_to_float32",
    "find_weights",
    "float32_to_bfloat16",
    "open_weights",
    "write_weights",
]
