"""The dashboard: what it shows in a real browser, and that looking changes nothing."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import optuna
import pytest
from chromium import chromium_page
from made_up import made_up_study

from pipeline.dashboard import dashboard_server, serve
from pipeline.pareto import pareto_report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Optuna's, about importances in small studies


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Shared: nothing that looks at it may change it."""
    return made_up_study(tmp_path_factory.mktemp("study"), trials=12)


@contextlib.contextmanager
def running(url: str, writable: bool = False) -> Iterator[str]:
    """A dashboard in a thread; gives its address."""
    with dashboard_server(url, 0, writable) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def request(method: str, address: str, body: object = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def dump(url: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return list(connection.iterdump())


CHANGES = [
    pytest.param("DELETE", "/api/studies/1", None, id="delete the study"),
    pytest.param("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}, id="create a study"),
    pytest.param("POST", "/api/studies/1/rename", {"study_name": "new"}, id="rename the study"),
    pytest.param("PUT", "/api/studies/1/note", {"body": "x", "version": 1}, id="edit the note"),
    pytest.param("DELETE", "/api/anything", None, id="what the dashboard does not know"),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_read_only_dashboard_refuses_every_change(study, method, path, body):
    _, url = study
    before = dump(url)
    with running(url) as address:
        status, answer = request(method, address + path, body)
    assert status == 403
    assert "--writable" in json.loads(answer)["reason"]
    assert dump(url) == before


def test_looking_changes_nothing(study):
    opened, url = study
    before = dump(url)
    with running(url) as address:
        for path in ("/api/studies", "/api/studies/1?after=0", "/api/studies/1/param_importances", "/csv/1"):
            status, answer = request("GET", address + path)
            assert (status, bool(answer)) == (200, True)
        shown = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])
    assert len(shown["trials"]) == len(opened.trials)
    assert dump(url) == before


def test_a_writable_dashboard_changes_what_it_is_asked_to(tmp_path):
    _, url = made_up_study(tmp_path, trials=1)
    with running(url, writable=True) as address:
        assert request("DELETE", f"{address}/api/studies/1")[0] == 204
    assert optuna.get_all_study_summaries(url) == []


def test_the_dashboard_is_reached_from_this_machine_only(study):
    with dashboard_server(study[1], 0, writable=False) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_named_with_the_way_out(study):
    with (
        dashboard_server(study[1], 0, writable=False) as server,
        pytest.raises(ValueError, match=f"--port {server.server_port} .*choose another"),
    ):
        serve(study[1], server.server_port, writable=False)


def test_the_dashboard_shows_the_front_in_a_browser(study):
    opened, url = study
    front = {trial.number for trial in pareto_report(opened).front}
    with running(url) as address, chromium_page() as page:
        page.open(f"{address}/dashboard/studies/1", "document.querySelectorAll('.scatterlayer .point').length > 0")
        page.wait(lambda: "Best Trials" in page.run("document.body.innerText"), "list of best trials")
        text = page.run("document.body.innerText")
        assert all(f"Trial {number}\n" in text for number in front)
        assert "accuracy_mean" in text
        assert page.problems == []
        assert [asked for asked in page.requests if not asked.startswith((address, "data:"))] == []


def test_the_served_dashboard_says_where_it_is_and_ctrl_c_ends_it(study):
    code = f"from pipeline.dashboard import serve; serve({study[1]!r}, 0, False)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line
        assert "read-only" in line
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
