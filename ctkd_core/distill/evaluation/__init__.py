"""Evaluation that answers whether a student learnt what its teacher knows; `table` lists what can be measured."""
