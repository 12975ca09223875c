"""What finished networks become: ONNX, single files, cards, golden vectors."""
