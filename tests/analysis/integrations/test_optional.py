"""Optional packages: a missing one is named with how to install it, and nothing else is hidden."""

import importlib
import sys

import pytest

from dynpool.analysis.integrations.optional import optional


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    for module in ("lightning", "pytorch_lightning", "transformers"):
        name = f"dynpool.analysis.integrations.{module}"
        monkeypatch.delitem(sys.modules, name, raising=False)
        for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
            monkeypatch.setitem(sys.modules, loaded, None)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=rf"{module}.*pip install 'dynpool\[\w+\]'"):
            importlib.import_module(name)


def test_another_missing_package_is_not_hidden():
    with (
        pytest.raises(ModuleNotFoundError, match="No module named 'not_there'"),
        optional("lightning", extra="lightning"),
    ):
        importlib.import_module("not_there")
