"""From a network's outputs to an estimate, and the network itself as a graph: NumPy and ONNX Runtime, no PyTorch."""
