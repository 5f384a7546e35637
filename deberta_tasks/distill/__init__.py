"""Distillation: a smaller model learns what a larger one says, in either framework, by runs like any other."""
