"""optuna-dashboard on optevo's studies: the server, and the note that explains a study."""

import gc
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper

import optuna_dashboard
from bottle import JSONPlugin
from optuna.storages import BaseStorage, get_storage
from optuna.study import Study
from pydantic_core import PydanticSerializationError, to_json

from optevo.errors import UsageError

READING = 5.0  # seconds that the address is held back, at most, while the studies are read


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A browser keeps several connections open; one at a time would make them wait for each other."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line for every request."""


def write_note(study: Study, *, spec: str, commands: list[str]) -> None:
    """Pin a note to the study: what was specified, and how to go on."""
    lines = ["Next:", "", "```sh", *commands, "```", "", "Specification:", "", "```json", spec.rstrip(), "```"]
    optuna_dashboard.save_note(study, "\n".join(lines))


def serve(
    storage: BaseStorage, artifacts: Any, *, host: str, port: int, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve the dashboard until interrupted.

    Args:
        storage: The studies.
        artifacts: Their artifact store.
        host: Address to listen on. The dashboard has no passwords: anybody who reaches it can read and delete studies.
        port: 0 takes a free one.
        on_ready: Gets the URL.

    Raises:
        UsageError: The address cannot be listened on.
    """
    # Optuna's cache in front of the store. Without it every trial is read again for a page that is opened more than ten
    # seconds after the last one.
    storage = get_storage(storage)
    app = optuna_dashboard.wsgi(storage, artifact_store=artifacts)
    app.install(JSONPlugin(json_dumps=_to_json))
    try:
        server = make_server(host, port, _eager(app), server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); name another."
        ) from error
    with server, _rare_collections():
        # Reading a large study the first time takes longest. It is mostly done before a browser needs the processor for
        # itself; a request that comes earlier waits for this reading and does not begin another.
        reading = threading.Thread(target=_read_all, args=(storage,), daemon=True)
        reading.start()
        reading.join(READING)
        if on_ready is not None:
            on_ready(f"http://{host}:{server.server_port}/dashboard")
        server.serve_forever()


def _read_all(storage: BaseStorage) -> None:
    # The newest study first: it is the likeliest to be looked at.
    for study in reversed(storage.get_all_studies()):
        storage.get_all_trials(study._study_id, deepcopy=False)


def _to_json(answer: dict[str, Any]) -> str | bytes:
    """What json.dumps writes, in a third of its time: a study of 3,200 trials is 18 MB."""
    try:
        return to_json(answer)
    except PydanticSerializationError:
        # Such as half a surrogate pair, which has no UTF-8.
        return json.dumps(answer)


def _eager(app: Callable[..., Any]) -> Callable[..., Any]:
    """Have a study's trials on the way while the browser still loads the dashboard's own code.

    That code takes a browser a second or two, and is what would ask for the trials only then. A page's `Link` header
    makes the browser ask at once and keep the answer for the code.

    Files go a megabyte at a time, not wsgiref's 8 KB: after each block the thread that sends waits its turn with those
    that read and answer, and the code came seconds later.
    """

    def eager(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.file_wrapper"] = partial(FileWrapper, blksize=2**20)
        page = re.match(r"/dashboard/studies/(\d+)(/|$)", environ["PATH_INFO"])

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if page:
                trials = f"</api/studies/{page[1]}?after=0>; rel=preload; as=fetch; crossorigin"
                headers = [*headers, ("Link", trials)]
            return start_response(status, headers, *exc_info)

        return app(environ, start)

    return eager


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cyclic garbage after a million new objects instead of 700.

    Trials are many small objects that stay. To look at them all again and again took half of the time of reading them,
    and of making an answer of them.
    """
    before = gc.get_threshold()
    gc.set_threshold(1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
