"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest

# A shell starts what it puts into the background with Ctrl-C ignored, and so would all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors gain nothing from threads, and equal numbers of threads make equal results."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, where there is one."""
    folder = os.environ.get("OPTEVO_TEST_DATA")
    if not folder:
        pytest.skip("set OPTEVO_TEST_DATA to the folder that holds the real images")
    return Path(folder)
