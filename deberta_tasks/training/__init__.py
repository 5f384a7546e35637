"""What training runs of both frameworks share: texts as rows, batches in an order that resumes, a folder to write."""

from deberta_tasks.training.run import Run, linear_rate
from deberta_tasks.training.stream import MaskedStream, blocks, read_lines

__all__ = ["MaskedStream", "Run", "blocks", "linear_rate", "read_lines"]
