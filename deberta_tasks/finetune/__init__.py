"""Fine-tuning: from labelled texts in a file to a model with its scores, in either framework."""
