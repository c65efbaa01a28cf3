"""optuna-dashboard on a study's database: on this machine only, and read-only unless asked.

The dashboard has no login, and one request can delete a study. Requests that change something are therefore refused
before they reach it. So are requests under a host name that is not this machine's: a page of another site may give its
own name this machine's address, and its scripts then count as the dashboard's (DNS rebinding).
"""

import errno
import functools
import json
import socketserver
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.database.storage import open_storage
from pipeline.database.trials import kind_of
from pipeline.optuna_private import rank_in_dashboard

_HOST = "127.0.0.1"
_OWN_NAMES = (_HOST, "localhost", "::1")


def serve(url: str, port: int, writable: bool, artifacts: Path | None = None, hosts: Sequence[str] = ()) -> None:
    """Serve the dashboard of the database at `url` until Ctrl-C.

    Args:
        writable: Let every visitor create, change and delete studies.
        artifacts: Folder of the study's artifacts; without it none are offered.
        hosts: Names, besides localhost, under which browsers may ask: those of a proxy before the dashboard.

    Raises:
        ValueError: If the port is taken or this user may not use it.
        StudyError: If the database cannot be used.
    """
    warnings.simplefilter("ignore", UserWarning)  # Optuna's, about importances of parameters in small studies
    with dashboard_server(url, port, writable, artifacts, hosts) as server:
        state = "every visitor can change and delete studies" if writable else "read-only"
        try:
            print(f"dashboard  http://{_HOST}:{server.server_port}/  ({state}; Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def dashboard_server(
    url: str, port: int, writable: bool, artifacts: Path | None = None, hosts: Sequence[str] = ()
) -> WSGIServer:
    """A listening server, one thread a request; `serve_forever` starts it. Port 0 takes a free port."""
    app = _for_own_pages(_app(url, writable, artifacts), [_host_name(f"//{name}") or name for name in hosts])
    try:
        return make_server(_HOST, port, app, server_class=_ThreadedServer, handler_class=_QuietHandler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise ValueError(f"--port {port} cannot be used ({error.strerror}); choose another one") from error


def _app(url: str, writable: bool, artifacts: Path | None) -> WSGIApplication:
    rank_in_dashboard(lambda trial: kind_of(trial) == "evaluated")
    store = FileSystemArtifactStore(str(artifacts)) if artifacts and artifacts.is_dir() else None
    storage = open_storage(url)
    storage.get_best_trial = functools.partial(_best_of_results, storage)  # type: ignore[method-assign]
    app = optuna_dashboard.wsgi(storage, artifact_store=store)
    return app if writable else _read_only(app)


def _best_of_results(storage: RDBStorage, study_id: int) -> FrozenTrial:
    """The best evaluated trial of a study with one objective; if there is none, its best complete trial."""
    complete = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
    evaluated = [trial for trial in complete if kind_of(trial) == "evaluated"]
    (direction,) = storage.get_study_directions(study_id)
    best = max if direction is StudyDirection.MAXIMIZE else min
    return best(evaluated or complete, key=lambda trial: float(trial.value or 0.0))


def _read_only(app: WSGIApplication) -> WSGIApplication:
    """The application; it answers 403 to all but GET, HEAD and OPTIONS."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return app(environ, start_response)
        return _forbidden("This dashboard is read-only. Start it with: nacim dashboard --writable", start_response)

    return guarded


def _for_own_pages(app: WSGIApplication, hosts: Sequence[str]) -> WSGIApplication:
    """The application; it answers 403 under a name that is neither this machine's nor in `hosts`, and to other pages.

    Ports may differ, as a tunnel changes them; but a page that sends an origin must be the host that it asks.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        name = _host_name(f"//{asked}")
        if name not in (*_OWN_NAMES, *hosts):
            allowed = ", ".join((*_OWN_NAMES, *hosts))
            way_out = f"Allow it, if it is yours: nacim dashboard --allow-host {name or 'NAME'}"
            return _forbidden(f"Host {asked!r} is not one of {allowed}. {way_out}", start_response)
        if (
            origin is not None
            and origin.lower().partition("://")[2] != asked.lower()
            and _host_name(origin) not in hosts
        ):
            way_out = "Open the dashboard itself; a proxy's name is allowed by: nacim dashboard --allow-host NAME"
            return _forbidden(f"A page of {origin!r} asks {asked!r}. {way_out}", start_response)
        return app(environ, start_response)

    return guarded


def _host_name(address: str) -> str | None:
    """The name in an address such as `//localhost:8080`; None without one."""
    try:
        return urlsplit(address).hostname
    except ValueError:  # such as a bracket that is not closed
        return None


def _forbidden(reason: str, start_response: StartResponse) -> list[bytes]:
    text = json.dumps({"reason": reason}).encode()
    start_response("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]


class _ThreadedServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""
