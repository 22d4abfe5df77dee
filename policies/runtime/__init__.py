"""What a robot needs of a policy: an exported folder, numpy and onnxruntime. Nothing here imports torch."""
