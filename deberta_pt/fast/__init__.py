"""What makes this tree fast on the machines that PyTorch runs on; no number of ``attention.py`` changes."""
