"""What makes this tree fast on the machines that TensorFlow runs on; no number of ``attention.py`` changes."""
