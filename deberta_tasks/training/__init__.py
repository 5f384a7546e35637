"""What all training shares: one loop, a learner for each framework, an order that resumes, the folder of a run."""

from deberta_tasks.training.options import linear_rate
from deberta_tasks.training.run import Run
from deberta_tasks.training.text import MaskedStream, blocks, read_lines

__all__ = ["MaskedStream", "Run", "blocks", "linear_rate", "read_lines"]
