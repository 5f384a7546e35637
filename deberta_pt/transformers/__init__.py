"""The encoder of this package inside transformers' own DeBERTa models, for those who have transformers as well.

``enable()`` gives it to all models that are built from then on, in whatever way; ``replace(model)`` to one that exists.
Model classes, heads, configs, files and parameter names stay those of transformers: what is saved loads without this
package. ``python -m deberta_pt.transformers script.py ...`` runs an unchanged script after ``enable()``.

Nothing else in this project imports this package.
"""

try:
    import transformers as _transformers  # noqa: F401 - the first to look for it says what is missing
except ImportError as error:
    raise ImportError("deberta_pt.transformers needs transformers 4.57 or 5.x; pip install transformers") from error

from deberta_pt.transformers.replacing import replace
from deberta_pt.transformers.switch import disable, enable

__all__ = ["disable", "enable", "replace"]
