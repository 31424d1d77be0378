"""A released model in formats that other programs read: safetensors, ONNX, a torch.export archive, a MONAI bundle."""
