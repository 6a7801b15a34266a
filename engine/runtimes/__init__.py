"""What runs a model's graphs. Each heavy library is imported inside the function that opens it.

onnx_runtime    onnxruntime, CPU
"""
