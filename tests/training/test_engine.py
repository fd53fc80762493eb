"""What "auto" means, and what the engine refuses."""

import pytest
import torch

from optevo.errors import UsageError
from optevo.training.engine import has_bf16, resolve


def test_bf16_is_chosen_where_the_hardware_has_it():
    cpu = torch.device("cpu")
    assert resolve(device="cpu").precision == ("bf16" if has_bf16(cpu) else "fp32")
    assert resolve(device="cpu", precision="fp32").precision == "fp32"
    assert resolve(device="cpu", precision="bf16").precision == "bf16"


def test_zero_threads_are_all_cores():
    import os

    assert resolve(device="cpu").threads == 1
    assert resolve(device="cpu", threads=0).threads == os.cpu_count()


def test_threads_are_set_while_active_and_restored():
    before = torch.get_num_threads()
    with resolve(device="cpu", threads=before + 1).active():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("bad", [{"device": "tpu"}, {"device": "cuda:99"}, {"precision": "fp8"}, {"threads": -1}])
def test_what_is_not_there_is_refused(bad: dict):
    with pytest.raises(UsageError, match=next(iter(bad))):
        resolve(**bad)
