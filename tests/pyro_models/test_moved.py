"""Names of the release before work, and say where they are now."""

from importlib import import_module, reload
from warnings import catch_warnings, simplefilter

import pytest

from inference.isolated import isolated
from pyro_models.moved import MODULES, NAMES, renamed


@pytest.mark.parametrize("old", MODULES)
def test_a_moved_module_is_found_and_its_names_are_the_new_ones(old):
    with catch_warnings():  # of the package that it is in
        simplefilter("ignore")
        import_module(old.rpartition(".")[0])
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MODULES[old][0]}"):
        before = reload(import_module(old))
    for place in MODULES[old]:
        new = import_module(place)
        for name in new.__all__:
            assert getattr(before, name) is getattr(new, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = before.nothing


def test_a_renamed_function_of_a_moved_module_has_both_names():
    with pytest.warns(DeprecationWarning, match="is now inference.isolated"):
        module = reload(import_module("inference.undisturbed"))
    assert module.undisturbed is isolated
    assert NAMES["undisturbed"] == "isolated"


def test_what_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        import_module("inference.learning.never")
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        renamed("pyro_models", {"old": "VAE"})("other")
