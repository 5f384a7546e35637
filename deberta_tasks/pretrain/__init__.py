"""Pretraining: from plain text to a model that has learnt from masked or replaced tokens, in either framework."""
