"""Run every command of the walkthrough as written, and write docs/walkthrough.md with what each printed.

optevo data download facades
python docs/walkthrough.py --data data/facades
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent

INTRODUCTION = """# From a folder of pairs to a model that ships

Every command below was run as written, by `docs/walkthrough.py`, on the 400 training and 106 test pairs of the CMP
facades (`optevo data download facades`) with [docs/facades.toml](facades.toml): 64 x 64 pixels and a small budget, so
that two CPU cores finish within minutes. The pictures of such a training are rough; the way is the same for a real one.
"""

STEPS = [
    ("Check the images", ["data check data/facades"]),
    (
        "Create the study",
        ["study create facades --spec facades.toml", "study estimate facades"],
    ),
    ("Search, and hold the final", ["study run facades --workers 2", "study show facades", "study best facades"]),
    (
        "Train the winner whole, and the original beside it",
        ["model finetune facades", "model finetune facades --architecture original"],
    ),
    (
        "Compare them on the test pairs",
        ["model compare models/facades-winner models/facades-original --data data/facades"],
    ),
    (
        "Transfer: the searched architecture the other way round, from photos to labels",
        ["model finetune facades --onto data/facades --direction AtoB --out models/facades-labels"],
    ),
    (
        "Export",
        [
            "model export models/facades-winner --format onnx --data data/facades",
            "model export models/facades-winner --format pt2 --data data/facades",
        ],
    ),
    (
        "Apply to pictures of any size",
        [
            "model apply models/facades-winner pictures --out translated",
            "model apply models/facades-winner/generator.onnx pictures --out translated-onnx",
        ],
    ),
]


def label_pictures(pairs: Path, out: Path) -> None:
    """Four label maps at their full size: the right halves of the test pairs."""
    from PIL import Image

    out.mkdir()
    for path in sorted((pairs / "test").iterdir())[:4]:
        with Image.open(path) as both:
            both.crop((both.width // 2, 0, both.width, both.height)).save(out / f"{path.stem}.png")


def run(command: str, folder: Path) -> str:
    """What a command prints, on stdout and stderr alike; it must succeed."""
    result = subprocess.run(
        [sys.executable, "-m", "optevo", *command.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("OPTEVO_")},
    )
    print(f"$ optevo {command}\n{result.stdout}", flush=True)
    if result.returncode:
        raise SystemExit(f"optevo {command} failed with exit code {result.returncode}")
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data.resolve()
    page = [INTRODUCTION]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "facades").symlink_to(data)
        shutil.copy(DOCS / "facades.toml", folder)
        label_pictures(data, folder / "pictures")
        for title, commands in STEPS:
            page.append(f"## {title}\n")
            for command in commands:
                page.append(f"```console\n$ optevo {command}\n{run(command, folder)}\n```\n")
        shutil.copy(folder / "models" / "facades-winner" / "samples.png", DOCS / "facades-winner.png")
    page.append("## What the winner makes of the first test pairs\n\n![input, output, target](facades-winner.png)\n")
    (DOCS / "walkthrough.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
