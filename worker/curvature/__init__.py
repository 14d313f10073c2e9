"""What is measured beside the Fisher trace and keeps it honest: gradients, the Hessian, and how far
the quadratic picture holds. One file for each."""

from worker.curvature import gradient, hessian, layer_gradients, second_order

__all__ = ["gradient", "hessian", "layer_gradients", "second_order"]
