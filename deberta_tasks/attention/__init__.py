"""Looking inside: the attention of a text by layer and head, and the parts that its scores are the sum of."""

from deberta_tasks.attention.maps import AttentionMaps, attention_maps
from deberta_tasks.attention.page import write_page
from deberta_tasks.attention.picture import write_picture

__all__ = ["AttentionMaps", "attention_maps", "write_page", "write_picture"]
