"""What runs a model's graphs. Each heavy library is imported inside the function that opens it.

onnx_runtime    onnxruntime, CPU: one graph
onnx_flow       a flow model's graphs, by onnx_runtime
torch_runtime   a flow model by torch: CPU, CUDA, Apple's GPU
watermarked     the watermark for runtimes without torch
"""
