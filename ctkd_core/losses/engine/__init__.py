"""The engine under every loss: rows in chunks, buffers, gradients, fused heads."""
