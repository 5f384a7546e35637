"""Models as graphs that a runtime computes without this project: made, checked and put in place together."""
