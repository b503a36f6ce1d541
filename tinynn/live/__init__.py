"""Seeing a network learn, live: step by step, with its regions, weights and gradients."""

from tinynn.live.experiment import Experiment, watch

__all__ = ["Experiment", "watch"]
