"""Information in the activations of a network's layers, about the image and about the label: one
file for each estimator."""

from worker.information import activations, binning, decoder, mixture, plane

__all__ = ["activations", "binning", "decoder", "mixture", "plane"]
