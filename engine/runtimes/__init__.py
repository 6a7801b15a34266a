"""What runs a model's graphs. Each heavy library is imported inside the function that opens it.

onnx_runtime         onnxruntime: one graph
providers            which of onnxruntime's providers really work here
onnx_flow            a flow model's graphs, by onnx_runtime
graph_flow           what runtimes made of graphs share
torch_runtime        a flow model by torch: CPU, CUDA, Apple's GPU
tensorrt_runtime     a flow model by TensorRT: captured solves, memory that persists
tensorrt_device      the thin layer under it: memory, stream, graph, plans
tensorrt_library     which TensorRT, which driver, which plans may be loaded
watermarked          the watermark for runtimes without torch
"""
