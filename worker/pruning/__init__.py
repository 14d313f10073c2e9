"""Pruning: which weights a criterion takes away, how they stay away, and what is left of a network.

A pruned weight is exactly 0 in the state, and no mask is stored beside it: what is 0 at the start
of an epoch of a pruned run stays 0 in that epoch (`masks.py`).
"""
