"""What every test shares: hypothesis without deadlines, and the slow tests at the end."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# The cores are shared with other work, so an example's time says nothing about the code.
settings.register_profile("tokkit", deadline=None, print_blob=True)
settings.load_profile("tokkit")

# Where the tests run in the background of a shell, Ctrl-C is ignored, and commands started from
# here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
