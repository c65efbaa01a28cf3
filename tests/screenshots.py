"""The pictures of the documentation, taken from a real study: `python tests/screenshots.py studies/digits.yaml`.

The study must have run (`nacim run`). Not a test: pictures change with the study, and nobody wants that in every run.
"""

import io
import re
import shutil
import sys
import threading
from pathlib import Path

from chromium import chromium_page
from rich.console import Console

from pipeline.cli.live_view import LiveProgress
from pipeline.database.open_study import load_study_read_only, places
from pipeline.database.trials import pareto_report
from pipeline.design.design_point import DesignPoint
from pipeline.phase import phase_file, say, told_in
from pipeline.report.dashboard_notes import artifact_folder, prepare_dashboard
from pipeline.report.dashboard_server import dashboard_server
from pipeline.report.page import write_pictures, write_report
from pipeline.study.study_file import load_study

IMAGES = Path(__file__).parent.parent / "docs" / "images"
DRAWN = (
    "document.readyState === 'complete' && [...document.querySelectorAll('.plot')].every((p) => p.querySelector('svg'))"
)
SETTLED = "new Promise((resolve) => setTimeout(resolve, 1000))"


def terminal(opened, folder: Path) -> None:
    """The live view as it was in the middle of the study, two trials running."""
    trials = [trial for trial in opened.trials if "design" in trial.user_attrs]
    done, in_work = trials[: 2 * len(trials) // 3], trials[2 * len(trials) // 3 :][:2]
    console = Console(record=True, width=140, file=io.StringIO(), force_terminal=True)
    objectives = pareto_report(opened).objectives
    view = LiveProgress(opened.study_name, objectives, [], console, folder)
    view._goal = len(trials)
    view._start -= sum((trial.duration.total_seconds() for trial in done), start=0.0) / 2
    for trial in done:
        view.finished(trial)
    with (
        told_in(phase_file(folder / f"{opened.study_name}-x-{in_work[0].number:05d}.pt")),
    ):
        say("training, epoch 12 of 30")
        with told_in(phase_file(folder / f"{opened.study_name}-x-{in_work[1].number:05d}.pt")):
            say("variation")
            for trial in in_work:
                view.started(trial.number, DesignPoint.from_dict(trial.user_attrs["design"]))
            console.print(view._render())
    drawn = console.export_svg(title=f"nacim run studies/{opened.study_name}.yaml")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.S)  # which would be fetched from elsewhere
    shown = folder / "terminal.html"
    shown.write_text(f"<!doctype html><meta charset='utf-8'><body style='margin: 0'>{drawn}")
    box = "document.querySelector('svg').viewBox.baseVal"
    with chromium_page(1180, 700) as page:
        page.open(shown.as_uri(), "document.readyState === 'complete'")
        height = page.run(f"{box}.height / {box}.width")
    with chromium_page(1180, int(1180 * height)) as page:
        page.open(shown.as_uri(), "document.readyState === 'complete'")
        page.screenshot(IMAGES / "terminal.png", whole=False)
    shown.unlink()


def main(study_file: Path) -> None:
    """Write all pictures into docs/images."""
    study = load_study(study_file)
    folder, url = places(study, None, None)
    folder = folder.resolve()
    opened = load_study_read_only(url, study.spec.name)
    report = write_report(opened, folder)
    prepare_dashboard(opened, folder, report)
    (front_picture,) = (path for path in write_pictures(opened, folder) if path.stem.endswith("-front-0"))
    shutil.copyfile(front_picture, IMAGES / "front.png")
    terminal(opened, folder)
    with chromium_page(1120, 1250) as page:
        page.open(report.as_uri(), DRAWN)
        page.run(SETTLED)
        page.screenshot(IMAGES / "report.png", whole=False)
    front = pareto_report(opened).front
    shown = " && ".join(f"document.body.innerText.includes('Trial {trial.number}\\n')" for trial in front)
    best = front[0].number
    with dashboard_server(url, 0, False, artifact_folder(folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/dashboard/studies/1"
        with chromium_page(1280, 1100) as page:  # the front is there, or this fails
            page.open(address, f"document.querySelectorAll('.scatterlayer .point').length > 0 && {shown}")
            page.run(SETTLED)
            page.screenshot(IMAGES / "dashboard-front.png", whole=False)
        with chromium_page(1280, 1100) as page:
            page.open(f"{address}/trials?numbers={best}", "document.body.innerText.includes('Shares of the cost')")
            page.run(SETTLED)
            page.screenshot(IMAGES / "dashboard-trial.png", whole=False)
        server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
