"""ONNX graphs as torch modules: `graph:read_graph` reads a file, `network:OnnxNetwork` runs it operator by operator.

The other modules are the operators. To add one, add a function and its entry in the `OPERATORS` of a module.
"""
