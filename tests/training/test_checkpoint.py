"""Checkpoints of any training: a continued one equals the uninterrupted one, bit for bit, and bad files are refused."""

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from cyclegan_run import model
from forked import python
from safetensors.torch import load_file, save_file
from torch import nn

from optevo.errors import OptevoError
from optevo.training.base import Parts
from optevo.training.checkpoint import load_checkpoint, save_checkpoint
from optevo.training.draws import Draws

SCRIPT = Path(__file__).parents[1] / "cyclegan_run.py"


def train(folder: Path, *, steps: int, precision: str, kill: int | None = None) -> None:
    folder.mkdir(exist_ok=True)
    done = python(SCRIPT, folder, precision, str(steps), *([] if kill is None else [str(kill)]))
    assert done.returncode == (0 if kill is None else -signal.SIGKILL), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_cyclegan_goes_on_in_another_process_bit_for_bit(precision: str, tmp_path: Path) -> None:
    steps = 24
    train(tmp_path / "whole", steps=steps, precision=precision)
    # Twice at random, once early enough that the histories are not full, each time in a new process.
    for kill in [1, *sorted(random.Random(precision).sample(range(2, steps), 2))]:
        train(tmp_path / "broken", steps=steps, precision=precision, kill=kill)
    train(tmp_path / "broken", steps=steps, precision=precision)
    whole, broken = (load_file(tmp_path / name / "end.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    parts = "a_to_b. judge_b. average_a_to_b.module. average_a_to_b.n_averaged generator_adam.0. judge_adam.0."
    for part in (*parts.split(), "history_a.images", "history_b.random"):
        assert any(name.startswith(part) for name in whole)
    assert [name for name in whole if not torch.equal(whole[name], broken[name])] == []


def test_a_checkpoint_keeps_histories_that_are_empty(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", model(0), step=0)
    other = model(3)
    other.step(*torch.rand(2, 2, 3, 16, 16))
    assert load_checkpoint(tmp_path / "c.safetensors", other) == 0
    assert other.history_a.images == []


@pytest.mark.parametrize("kind", ["PCG64", "Philox", "MT19937", "SFC64"])
def test_numpys_generators_go_on_from_their_states(kind: str, tmp_path: Path) -> None:
    one, other = (np.random.Generator(getattr(np.random, kind)(seed)) for seed in (1, 2))
    one.integers(0, 9, size=3, dtype=np.uint32)  # leaves half a word behind, which counts too
    save_file(Draws(one).state(), tmp_path / "s.safetensors")
    Draws(other).restore(load_file(tmp_path / "s.safetensors"))
    assert (one.integers(0, 9, size=3, dtype=np.uint32) == other.integers(0, 9, size=3, dtype=np.uint32)).all()
    assert (one.normal(size=1000) == other.normal(size=1000)).all()


def test_torchs_generators_go_on_from_their_states() -> None:
    one, other = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    torch.rand(5, generator=one)
    Draws(other).restore(Draws(one).state())
    assert torch.equal(torch.rand(9, generator=one), torch.rand(9, generator=other))


def test_the_state_of_another_kind_of_generator_is_refused() -> None:
    numpy, torchs = np.random.default_rng(0), torch.Generator()
    for state, generator in ((torchs, numpy), (numpy, torchs), (np.random.Generator(np.random.Philox()), numpy)):
        with pytest.raises(ValueError):  # noqa: PT011 - the reason is the library's
            Draws(generator).restore(Draws(state).state())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a readable checkpoint"),
        (lambda path: path.write_bytes(b""), "not a readable checkpoint"),
        (lambda path: save_file({"x": torch.zeros(1)}, path), "not a readable checkpoint"),
        (lambda path: save_file({"x": torch.zeros(1)}, path, {"step": "3", "facts": "[]"}), "does not fit"),
        (lambda path: save_file({"x": torch.zeros(1)}, path, {"step": "3", "facts": "{"}), "not a readable"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(damage, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model(0), step=1)
    damage(path)
    with pytest.raises(OptevoError, match=message) as error:
        load_checkpoint(path, model(0))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_checkpoint_of_other_facts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, model(0), step=1, facts={"seed": 1, "sizes": [1, 2]})
    assert load_checkpoint(path, model(0), facts={"seed": 1, "sizes": [1, 2]}) == 1
    with pytest.raises(OptevoError, match="another seed \\(1, not 2\\)"):
        load_checkpoint(path, model(0), facts={"seed": 2, "sizes": [1, 2]})
    with pytest.raises(OptevoError, match="another sizes"):
        load_checkpoint(path, model(0), facts={"seed": 1})


@pytest.mark.parametrize("name", ["", "a.b", "random", "module"])
def test_parts_have_names_of_their_own(name: str) -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match=f"without dots, not {json.dumps(name)}".replace('"', "'")):
        Parts(modules={"module": nn.Linear(1, 1)}, adams={name: adam})


@pytest.mark.gpu
def test_a_checkpoint_of_a_gpu_goes_on_there(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    one, other = model(0, device="cuda"), model(1, device="cuda")
    batches = torch.rand(8, 2, 2, 3, 16, 16, device="cuda")
    for a, b in batches[:5]:
        one.step(a, b)
    save_checkpoint(tmp_path / "c.safetensors", one, step=5)
    load_checkpoint(tmp_path / "c.safetensors", other)
    for a, b in batches[5:]:
        torch.testing.assert_close(one.step(a, b), other.step(a, b), rtol=1e-3, atol=1e-4)
