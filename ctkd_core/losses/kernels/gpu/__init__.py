"""Triton kernels: every module here imports Triton, so import them only where `switch.use_triton` says yes.

Rows are given by offsets (int64, in elements from the tensor's first one), so that logits of any strides work, as long
as a row lies together, and more than 2^31 logits do. A kernel reads logits in their own data type and computes in
float32. What each computes is written in torch beside its caller: the twin that runs elsewhere.
"""
