"""Trained pairs to pass on: a folder with weights, configuration, scores and a model card.

The folder is the same thing on disk and in a repository of the Hugging Face Hub. ``export_run``
writes it, ``push_to_hub`` sends it, ``from_hub`` reads either. It holds no code, and none that it
names is run.
"""

from inference.hub.export import export_run
from inference.hub.pretrained import Pretrained, from_hub
from inference.hub.repository import push_to_hub

__all__ = ["Pretrained", "export_run", "from_hub", "push_to_hub"]
