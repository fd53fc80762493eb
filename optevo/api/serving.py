"""The dashboard."""

from collections.abc import Callable

from optevo.search.store import storage_url


def dashboard(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    storage: str | None = None,
    artifacts: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve optuna-dashboard on the store and its artifacts until Ctrl-C.

    Args:
        host: The dashboard has no passwords, so by default it answers this machine alone.
        port: 0 takes a free one.
        artifacts: One artifact store for all studies, instead of those that they were created with.
        on_ready: Gets the URL.
    """
    from optevo.reports.dashboard import serve
    from optevo.search.served import ServedArtifacts
    from optevo.search.store import open_store

    url = storage_url(storage)
    store = open_store(url)
    serve(store, ServedArtifacts(store, url=url, given=artifacts), host=host, port=port, on_ready=on_ready)
