"""Commands as processes of their own, without the seconds that each would spend on importing torch.

They are forked from a process that has imported what the command line needs and done nothing else: what they are given
(arguments, folder, environment) and what is asked of them (output, status) is as with `subprocess.run`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 120  # seconds
# As an interpreter begins, without what tests add later, which forks would be given too.
PATH = [each for each in sys.path if each and Path(each) != Path(__file__).parent]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["optevo.cli.main", "optevo.api", "torchmetrics.image", "torchvision", "optuna.storages"])


def python(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python COMMAND`, where the command begins with `-m MODULE` or a script.

    Of what an interpreter reads from the environment as it starts, `PYTHONPATH` alone counts.

    Raises:
        subprocess.TimeoutExpired: It did not end.
    """
    arguments = [str(each) for each in command]
    environment = dict(os.environ if env is None else env)
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("out", "err")]
        process = _FORKS.Process(target=_run, args=(arguments, str(cwd or Path.cwd()), environment, files, PATH))
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, TIMEOUT)
        out, err = (Path(file).read_text() for file in files)
    return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _run(
    arguments: Sequence[str], folder: str, environment: Mapping[str, str], files: Sequence[str], path: Sequence[str]
) -> None:
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    before = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [folder if arguments[0] == "-m" else os.path.dirname(arguments[0]), *before, *path]
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
