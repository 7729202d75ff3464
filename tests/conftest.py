"""What the tests take from the machine: a GPU if there is one, a browser if there is one.

The browser tests need Chromium and its driver: they are left out, loudly, where these are missing.
``LIMBECK_REQUIRE_BROWSER=1``, which continuous integration sets, lets them fail instead.
"""

import os
import shutil

import pytest
import torch

if not torch.cuda.is_available():
    # Triton asks for it when it is loaded, which torch_geometric does: without a GPU its interpreter runs the kernels
    os.environ.setdefault("TRITON_INTERPRET", "1")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "install it with 'apt-get install chromium chromium-driver' (Debian, Ubuntu) or your system's packages"


def find_browser() -> tuple[str, str] | None:
    """Paths of the browser and its driver, or None."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def browser_is_required() -> bool:
    return os.environ.get("LIMBECK_REQUIRE_BROWSER", "") not in ("", "0")


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: needs Chromium and chromedriver on the PATH")


def pytest_collection_modifyitems(config, items):
    if find_browser() or browser_is_required():
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    if not find_browser() and not browser_is_required():
        terminalreporter.write_line(
            f"NOT RUN: the browser tests of the dashboard; Chromium or chromedriver is missing: {REMEDY}.", yellow=True
        )


@pytest.fixture(scope="session")
def browser_paths() -> tuple[str, str]:
    """Chromium and chromedriver."""
    found = find_browser()
    if found is None:
        pytest.fail(f"Chromium or chromedriver is missing: {REMEDY}.")
    return found
