"""optuna-dashboard on optevo's studies: the server, and the note that explains a study."""

import socketserver
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.storages import BaseStorage
from optuna.study import Study

from optevo.errors import UsageError


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
    app = optuna_dashboard.wsgi(storage, artifact_store=artifacts)
    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); name another."
        ) from error
    # Reading a large study the first time takes longest. The storage keeps finished trials, so it is read beforehand.
    threading.Thread(target=_read_all, args=(storage,), daemon=True).start()
    with server:
        if on_ready is not None:
            on_ready(f"http://{host}:{server.server_port}/dashboard")
        server.serve_forever()


def _read_all(storage: BaseStorage) -> None:
    for study in storage.get_all_studies():
        storage.get_all_trials(study._study_id, deepcopy=False)
