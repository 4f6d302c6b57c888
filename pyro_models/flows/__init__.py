"""Normalising flows: invertible layers from data to noise, of images and of vectors.

A flow is a name of ``FLOWS``, a function or a :class:`Layer`; with a standard distribution of the
noise it makes a :class:`FlowDistribution`.
"""

from __future__ import annotations

from pyro_models.flows.bodies import DenseBody, GatedBody
from pyro_models.flows.coupling import AffineCoupling, channel_mask, checkerboard
from pyro_models.flows.elementwise import Logit, Standardize
from pyro_models.flows.layer import Chain, FlowDistribution, Layer
from pyro_models.flows.named import FLOWS, FlowLike, ZukoLayer, flow_for
from pyro_models.flows.squeeze import Split, Squeeze

__all__ = [
    "FLOWS",
    "AffineCoupling",
    "Chain",
    "DenseBody",
    "FlowDistribution",
    "FlowLike",
    "GatedBody",
    "Layer",
    "Logit",
    "Split",
    "Squeeze",
    "Standardize",
    "ZukoLayer",
    "channel_mask",
    "checkerboard",
    "flow_for",
]
