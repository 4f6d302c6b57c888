"""What samples are compared by: features of images, from small classifiers that come along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.resources import files

import torch
from safetensors.torch import load
from torch import Tensor, nn

from pyro_models import ImageData
from pyro_models.data.identity import weights_checksum
from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry

__all__ = [
    "CLASSIFIERS",
    "Classifier",
    "classifier_of",
    "images_network",
    "register_classifier",
]

_AT_ONCE = 500  # images that go through the network in one call
NUM_FEATURES = 64


def images_network(side: int, *, num_classes: int = 10) -> nn.Sequential:
    """Two convolutions that halve an image, 64 features, and one layer of logits on these.

    Images are (N, 1, side, side), in [0, 1]. Without its last layer the network gives the features.
    """
    quarter = -(-side // 4)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * quarter**2, NUM_FEATURES),
        nn.ReLU(),
        nn.Linear(NUM_FEATURES, num_classes),
    )


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network of images, of which one layer is what samples are compared by.

    Attributes
    ----------
    name
        Name of the data that it was trained on; with the checksum of its weights it is what two
        scores must agree on to be compared.
    data_shape
        Shape of one image, (C, H, W).
    body, head
        From images (N, C, H, W) in [0, 1] to features (N, D), and from these to logits
        (N, num_classes); without a head it gives features alone.
    """

    name: str
    data_shape: tuple[int, ...]
    body: nn.Module
    head: nn.Module | None = None

    @cached_property
    def checksum(self) -> str:
        """Eight hexadecimal digits of the weights of the body."""
        return weights_checksum(self.body)[:8]

    def __str__(self) -> str:
        return f"features of the classifier {self.name} ({self.checksum})"

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features (N, D) of images (N, C, H, W), in float64 on the CPU, computed in float32.

        Pixels outside [0, 1] are clipped. A ``UsageError`` is raised of images of another shape.
        """
        if tuple(x.shape[1:]) != self.data_shape:
            raise UsageError(
                f"the classifier {self.name} is of images {self.data_shape}; got {tuple(x.shape)}"
            )
        parts = x.detach().to("cpu", torch.float32).clamp(0, 1).split(_AT_ONCE)
        with in_one_line(f"the classifier {self.name}"):
            found = torch.cat([self.body(part).double() for part in parts])
        if found.dim() != 2 or len(found) != len(x):
            raise UsageError(f"features are (N, D); {self.name} gives {tuple(found.shape)}")
        return found

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The likeliest class of each image, (N,).

        >>> from pyro_models import load_data
        >>> test = load_data("digits").prepared("test")
        >>> CLASSIFIERS["digits"]().classify(test.x[:6]).tolist() == test.y[:6].tolist()
        True
        """
        if self.head is None:
            raise UsageError(f"the classifier {self.name} gives features alone, no classes")
        return self.head(self.features(x).float()).argmax(-1)


@cache
def _shipped(name: str, side: int) -> Classifier:
    """One of those that come along; their weights are kept as float16."""
    net = images_network(side)
    weights = load(files(__package__).joinpath("classifiers", f"{name}.safetensors").read_bytes())
    net.load_state_dict({key: value.float() for key, value in weights.items()})
    net.eval().requires_grad_(False)
    return Classifier(name, (1, side, side), net[:-1], net[-1])


CLASSIFIERS: Registry[Callable[[], Classifier]] = Registry(
    "classifier",
    {
        name: partial(_shipped, name, side)
        for name, side in {"digits": 8, "mnist": 28, "fashion-mnist": 28}.items()
    },
)
"""What makes the classifier of a data set, by the name of the data."""


def register_classifier(
    data: str, data_shape: tuple[int, ...], body: nn.Module, head: nn.Module | None = None
) -> Classifier:
    """Let samples of the data set of this name be compared by features of your own network.

    See :class:`Classifier`; the network is put into evaluation mode. A ``UsageError`` is raised if
    the data have a classifier already.

    Examples
    --------
    >>> own = register_classifier("patches", (1, 4, 4), nn.Sequential(nn.Flatten(), nn.Tanh()))
    >>> own.features(torch.zeros(5, 1, 4, 4)).shape
    torch.Size([5, 16])
    >>> del CLASSIFIERS["patches"]
    """
    for part in (body, head):
        if part is not None:
            part.eval()
    made = Classifier(data, tuple(data_shape), body, head)
    CLASSIFIERS.register(data, lambda: made)
    return made


def classifier_of(data: ImageData) -> Classifier | str:
    """The classifier of a data set, or the reason why there is none."""
    if not data.is_images:
        return "features are of images, and these data are vectors"
    make = CLASSIFIERS.get(data.name)
    if make is None:
        known = ", ".join(CLASSIFIERS)
        return f"no classifier of {data.name} (there are {known}): see register_classifier"
    found = make()
    if found.data_shape != data.data_shape:
        return f"the classifier {found.name} is of images {found.data_shape}"
    return found
