"""The dashboard: what it shows in a real browser, and that looking changes nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import optuna
import pytest
from chromium import chromium_page
from made_up import made_up_study
from snapshot import rows

from pipeline.database.open_study import load_study_read_only
from pipeline.database.trials import pareto_report
from pipeline.report.dashboard_notes import artifact_folder, prepare_dashboard
from pipeline.report.dashboard_server import dashboard_server, serve
from pipeline.report.page import write_report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Optuna's, about importances in small studies


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Shared: nothing that looks at it may change it."""
    return made_up_study(tmp_path_factory.mktemp("study"), trials=12)


@contextlib.contextmanager
def running(
    url: str, writable: bool = False, artifacts: Path | None = None, hosts: Sequence[str] = ()
) -> Iterator[str]:
    """A dashboard in a thread; gives its address."""
    with dashboard_server(url, 0, writable, artifacts, hosts) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def request(
    method: str, address: str, body: object = None, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def dump(url: str) -> bytes:
    return rows(Path(url.removeprefix("sqlite:///")))


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


@pytest.mark.parametrize(
    ("headers", "way_out"),
    [
        pytest.param({"Host": "evil.example"}, "--allow-host evil.example", id="another name of this machine"),
        pytest.param({"Host": "evil.example:8080"}, "--allow-host evil.example", id="with a port"),
        pytest.param({"Host": "127.0.0.1.evil.example"}, "--allow-host", id="a longer name"),
        pytest.param({"Host": "[::1"}, "--allow-host", id="no address"),
        pytest.param({"Origin": "http://evil.example"}, "http://evil.example", id="a page of another site"),
        pytest.param({"Origin": "http://localhost:1"}, "http://localhost:1", id="a page of another port"),
        pytest.param({"Origin": "null"}, "'null'", id="a page of no site"),
    ],
)
def test_another_sites_page_neither_reads_nor_changes_a_study(tmp_path, headers, way_out):
    _, url = made_up_study(tmp_path, trials=1)
    before = dump(url)
    with running(url, writable=True) as address:
        for method in ("GET", "DELETE"):
            status, answer = request(method, f"{address}/api/studies/1", headers=headers)
            assert status == 403
            reason = json.loads(answer)["reason"]
            assert way_out in reason
    assert dump(url) == before


def test_the_dashboards_own_page_may_change_what_it_shows(tmp_path):
    _, url = made_up_study(tmp_path, trials=1)
    with running(url, writable=True, hosts=["Lab.example:8080"]) as address:
        port = address.rpartition(":")[2]
        for host in (f"localhost:{port}", "localhost:9999", f"[::1]:{port}", "lab.example", "LAB.example:1"):
            status, _ = request("GET", f"{address}/api/studies", headers={"Host": host, "Origin": f"http://{host}"})
            assert status == 200, host
        behind = {"Host": "127.0.0.1:8080", "Origin": "https://lab.example"}  # a proxy of that name hands on
        assert request("DELETE", f"{address}/api/studies/1", headers=behind)[0] == 204


def test_the_dashboard_is_reached_from_this_machine_only(study):
    with dashboard_server(study[1], 0, writable=False) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_named_with_the_way_out(study):
    with (
        dashboard_server(study[1], 0, writable=False) as server,
        pytest.raises(ValueError, match=f"--port {server.server_port} .*choose another"),
    ):
        serve(study[1], server.server_port, writable=False)


@pytest.mark.slow
def test_the_dashboard_shows_the_front_in_a_browser(study):
    opened, url = study
    front = {trial.number for trial in pareto_report(opened).front}
    with running(url) as address, chromium_page() as page:
        page.open(f"{address}/dashboard/studies/1", "document.querySelectorAll('.scatterlayer .point').length > 0")
        page.wait(lambda: "Best Trials" in page.run("document.body.innerText"), "list of best trials")
        text = page.run("document.body.innerText")
        assert all(f"Trial {number}\n" in text for number in front)
        assert "accuracy [0 to 1]" in text
        assert page.problems == []
        assert [asked for asked in page.requests if not asked.startswith((address, "data:"))] == []


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A study as a run leaves it, one checkpoint of its front included; its URL and output folder."""
    folder = tmp_path_factory.mktemp("prepared")
    opened, url = made_up_study(folder, trials=12)
    best = pareto_report(opened).front[0]
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.pt").write_bytes(b"weights")
    storage = opened._storage._backend
    with storage.engine.begin() as connection:  # Optuna lets no one change a finished trial
        connection.exec_driver_sql(
            "UPDATE trial_user_attributes SET value_json = '\"best.pt\"' WHERE key = 'checkpoint' AND trial_id = ?",
            (best._trial_id,),
        )
    opened = load_study_read_only(url)
    report = write_report(opened, folder)
    prepare_dashboard(opened, folder, report)
    return opened, url, folder


def test_a_prepared_study_has_notes_figures_and_artefacts(prepared):
    opened, url, folder = prepared
    best = pareto_report(opened).front[0]
    with running(url, artifacts=artifact_folder(folder)) as address:
        shown = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])
        (mine,) = [trial for trial in shown["trials"] if trial["artifacts"]]
        file = f"{address}/artifacts/1/{mine['trial_id']}/{mine['artifacts'][0]['artifact_id']}"
        assert request("GET", file) == (200, b"weights")
    assert [artifact["filename"] for artifact in shown["artifacts"]] == ["made-up-report.html"]
    titles = {json.loads(each["graph_object"])["layout"]["title"]["text"] for each in shown["plotly_graph_objects"]}
    assert titles == {
        "Pareto front, 95 % intervals",
        "Energy of the designs on the front",
        "Area of the designs on the front",
        "Hypervolume after each trial",
        "What silicon tells apart",
    }
    assert r"Which \<device\> \& crossbar wins?" in shown["note"]["body"]
    assert f"**On the front:** {best.number}" in shown["note"]["body"]
    (note,) = [trial["note"]["body"] for trial in shown["trials"] if trial["number"] == best.number]
    assert f"## Trial {best.number}: {best.params['device']}" in note
    assert f"| validation | {100 * best.values[0]:.4g} ± 1.0 |" in note
    shares = note[note.index("### Shares") :].splitlines()[4:]
    energies = [int(line.split("|")[2].strip(" %") or 0) for line in shares if line.startswith("|")]
    assert energies == sorted(energies, reverse=True)
    assert sum(energies) == pytest.approx(100, abs=5)


@pytest.mark.slow
def test_a_prepared_study_opens_with_notes_figures_and_artefacts(prepared):
    opened, url, folder = prepared
    front = pareto_report(opened).front
    with running(url, artifacts=artifact_folder(folder)) as address, chromium_page(1500, 1700) as page:
        page.open(f"{address}/dashboard/studies/1", "document.querySelectorAll('.scatterlayer .point').length > 0")
        for title in ("Pareto front, 95 % intervals", "Energy of the designs", "Hypervolume", "made-up-report.html"):
            page.wait(lambda title=title: title in page.run("document.body.textContent"), title)
        page.open(f"{address}/dashboard/studies/1/note", "document.body.innerText.includes('On the front:')")
        assert "Which <device> & crossbar wins?" in page.run("document.body.innerText")
        best = f"{address}/dashboard/studies/1/trials?numbers={front[0].number}"
        page.open(best, "document.body.innerText.includes('Shares of the cost')")
        text = page.run("document.body.innerText")
        assert f"Trial {front[0].number}: {front[0].params['device']}" in text
        assert f"{100 * front[0].values[0]:.4g} ± 1.0" in text
        page.wait(lambda: "best.pt" in page.run("document.body.innerText"), "the checkpoint among the artefacts")
        assert page.problems == []


def test_preparing_again_replaces_what_was_there_and_touches_no_value(prepared):
    opened, _, folder = prepared
    before = [(t.number, t.state, t.values, t.params, t.user_attrs) for t in opened.get_trials()]
    names = {path.name for path in artifact_folder(folder).iterdir()}
    prepare_dashboard(opened, folder, folder / "made-up-report.html")
    assert {path.name for path in artifact_folder(folder).iterdir()} == names
    assert [(t.number, t.state, t.values, t.params, t.user_attrs) for t in opened.get_trials()] == before


EVIL = (
    "![x](http://evil.example/a.png) [y](http://evil.example)\n\n"
    "# Title <img src=x> `c` http://evil.example www.evil.example me@evil.example"
)


def test_what_people_wrote_stays_text_in_a_note(tmp_path):
    opened, url = made_up_study(tmp_path, trials=1, question=EVIL)
    prepare_dashboard(opened, tmp_path, write_report(opened, tmp_path))
    with running(url) as address:
        note = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])["note"]["body"]
    assert not re.search(r"(?<!\\)(\]\(|<|`)|^# T", note, re.MULTILINE)
    plain = re.sub(r"\\(\W)", r"\1", note).replace("\u2060", "")
    assert EVIL.replace("\n\n", " ") in plain


@pytest.mark.slow
def test_what_people_wrote_makes_no_link_and_no_picture_in_a_browser(tmp_path):
    opened, url = made_up_study(tmp_path, trials=1, question=EVIL)
    prepare_dashboard(opened, tmp_path, write_report(opened, tmp_path))
    with running(url) as address, chromium_page() as page:
        page.open(f"{address}/dashboard/studies/1/note", "document.body.innerText.includes('On the front:')")
        assert EVIL.replace("\n\n", " ") in page.run("document.body.innerText").replace("\u2060", "")
        active = "[...document.querySelectorAll('a, img')].map(each => each.href || each.src).join(' ')"
        assert "evil" not in page.run(active)
        assert [asked for asked in page.requests if not asked.startswith((address, "data:"))] == []


@pytest.mark.slow
def test_the_served_dashboard_says_where_it_is_and_ctrl_c_ends_it(study):
    code = f"from pipeline.report.dashboard_server import serve; serve({study[1]!r}, 0, False)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line
        assert "read-only" in line
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
