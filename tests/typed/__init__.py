"""Code as users write it, which mypy and pyright read and nobody runs: what it asserts are types."""
