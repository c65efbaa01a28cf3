"""The families of networks that a study may name. Each is one function `build` in plain torch.

A new one is a file here and an entry in `pipeline.networks.builders.FAMILIES`.
"""
