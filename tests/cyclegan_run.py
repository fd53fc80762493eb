"""A tiny CycleGAN training for tests, in processes of its own: `python cyclegan_run.py FOLDER PRECISION STEPS [KILL]`.

It goes on from FOLDER/checkpoint.safetensors, writes that file after each step, kills itself without warning after step
KILL, and writes everything it then has to FOLDER/end.safetensors when it is through.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.training.checkpoint import load_checkpoint, save_checkpoint
from optevo.training.cyclegan import CycleGAN
from optevo.training.engine import Engine, Precision


def model(seed: int, *, precision: Precision = "fp32", device: str = "cpu") -> CycleGAN:
    """Both generators and their averages, both discriminators, and histories so short that old images are shown from
    the third step on."""
    torch.manual_seed(seed)
    plan = cyclegan(ngf=4, blocks=2)
    return CycleGAN(
        a_to_b=ResNetGenerator(plan),
        b_to_a=ResNetGenerator(plan),
        judge_a=PatchGAN(3, ndf=4, layers=1, norm="instance"),
        judge_b=PatchGAN(3, ndf=4, layers=1, norm="instance"),
        engine=Engine(device=torch.device(device), precision=precision, threads=1),
        replay=4,
        seed=seed,
        average=0.9,
    )


def run(folder: Path, *, steps: int, kill: int | None, precision: Precision = "fp32") -> None:
    """Train to the end or to death. A batch follows from its step alone; the discriminators' images do not."""
    checkpoint = folder / "checkpoint.safetensors"
    # Whoever goes on begins with other weights, histories and draws: the checkpoint must bring them all.
    trained = model(999 if checkpoint.exists() else 5, precision=precision)
    start = load_checkpoint(checkpoint, trained) if checkpoint.exists() else 0
    with trained.engine.active():
        for step in range(start, steps):
            trained.set_rate(1 - step / steps)
            random = torch.Generator().manual_seed(step)
            a, b = torch.rand(2, 2, 3, 16, 16, generator=random) * 2 - 1
            noise = 0.01 * torch.rand(2, 2, 3, 16, 16)  # draws from torch's own generator, as dropout does
            trained.step(a + noise[0], b + noise[1])
            save_checkpoint(checkpoint, trained, step=step + 1)
            if step + 1 == kill:
                os.kill(os.getpid(), signal.SIGKILL)
    save_checkpoint(folder / "end.safetensors", trained, step=steps)


if __name__ == "__main__":
    folder, precision, steps, *kill = sys.argv[1:]
    run(Path(folder), steps=int(steps), kill=int(kill[0]) if kill else None, precision=precision)  # type: ignore[arg-type]
