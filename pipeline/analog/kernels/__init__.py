"""Compiled loops of crossbar layers on a CPU, for `pipeline.analog` alone; README.md beside explains them."""
