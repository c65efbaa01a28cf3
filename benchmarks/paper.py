"""The experiment of NACIM (Jiang et al., IEEE Trans. Computers 2021) on CIFAR-10, from searches to the table.

    python benchmarks/paper.py --data-dir data                  # reduced: an hour on two cores
    python benchmarks/paper.py --data-dir data --seeds 1 2 3    # three times, each search and training another
    python benchmarks/paper.py --data-dir data --scale full     # the study files as they are
    python benchmarks/paper.py --data-dir data --scale full --joint-only    # of it the joint search and its designs

Three searches (accuracy alone, accuracy under variation on the same chip, device and chip and network together), then
each chosen design is trained on its own and measured on test images over many chips, at several programming errors.
All of it are `nacim` commands on the studies' databases in the output folder; what is there already is not done again,
so that the same command goes on after an interruption. The table is made from the databases.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from markdown_tables import table, write_block
from optuna.trial import FrozenTrial
from supernet import tau_with_interval

from pipeline.database.open_study import load_study_read_only
from pipeline.database.trials import pareto_report, remeasured
from pipeline.design.describe import describe
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.report.figures.published import PAPER

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "paper.md"
STUDIES = QUANTNAS, PTBNAS, JOINT = "cifar10_quantnas", "cifar10_ptbnas", "cifar10_nacim"
SIGMA_SCALES = (1.0, 2.0, 4.0)
SERVES = 0.05  # assumed: a design that gives up more accuracy than that for its efficiency does not serve
PLAIN, ROBUST, EFFICIENT = PAPER


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much is spent.

    Attributes:
        changes: Section of a study file -> keys in place of the file's.
        trials: Study -> evaluated trials; studies that are not named keep their file's.
        epochs, train_images: Of a chosen design's own training.
        test_images, images_per_chip: On which chosen designs are measured.
        chips: At the card's error; other errors get a quarter of them.
        ranked: Designs of the joint search that are trained on their own as well, to see how the search ranks them.
        ranked_epochs: Of that training, on the search's images.
    """

    changes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    trials: dict[str, int] = dataclasses.field(default_factory=dict)
    epochs: int
    train_images: int
    test_images: int
    chips: int
    images_per_chip: int
    ranked: int = 0
    ranked_epochs: int = 12


SCALES = {
    "reduced": Scale(
        changes={
            "dataset": {"validation_images": 500, "test_images": 100},
            "accuracy": {"supernet_epochs": 15},
            "variation": {"min_chips": 6, "max_chips": 6, "images_per_chip": 100},
            "sampler": {"population_size": 10},
        },
        trials={JOINT: 40, QUANTNAS: 16, PTBNAS: 16},
        **{"epochs": 12, "train_images": 10_000, "test_images": 2000, "chips": 32, "images_per_chip": 250},
    ),
    "full": Scale(epochs=20, train_images=45_000, test_images=10_000, chips=64, images_per_chip=500, ranked=30),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Pick:
    """A design chosen from a search by its validation accuracy."""

    study: str
    label: str  # what it was chosen for
    trial: FrozenTrial
    measured: dict[float, dict[str, Any]]  # times the card's error -> its own training, newest entry of `remeasured`

    @property
    def tops_per_watt(self) -> float:
        return float(self.trial.user_attrs["tops_per_watt"])

    def test(self, sigma_scale: float = 1.0) -> VariationReport:
        return VariationReport.from_dict(self.measured[sigma_scale]["test"])

    def loss(self, sigma_scale: float = 1.0) -> float:
        """Accuracy that variation takes."""
        return self.test(sigma_scale).noiseless - self.test(sigma_scale).mean

    def loss_as_trained(self) -> float:
        """Accuracy that bits, converters and variation take together."""
        return self.test().float_accuracy - self.test().mean


def choose(study: str, trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """What a design is chosen for -> the evaluated trial; 16.3 TOPS/W may be out of reach."""
    if study == QUANTNAS:
        return {"accuracy alone (QuantNAS)": max(trials, key=lambda t: t.user_attrs["accuracy_noiseless"])}
    robust = max(trials, key=lambda t: t.user_attrs["accuracy_mean"])
    if study == PTBNAS:
        return {"robust on the same chip (ptbNAS)": robust}
    enough = robust.user_attrs["accuracy_mean"] - SERVES
    serving = [t for t in trials if t.user_attrs["accuracy_mean"] >= enough]
    picks = {
        "joint, towards accuracy": robust,
        "joint, towards efficiency": max(serving, key=lambda t: t.user_attrs["tops_per_watt"]),
    }
    if efficient := [t for t in trials if t.user_attrs["tops_per_watt"] >= EFFICIENT.tops_per_watt]:
        label = f"joint, {EFFICIENT.tops_per_watt} TOPS/W or more"
        picks[label] = max(efficient, key=lambda t: t.user_attrs["accuracy_mean"])
    return picks


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Runs what is missing, two things at a time, and reads what is there."""

    scale: Scale
    folder: Path
    data_dir: Path
    seed: int
    studies: Sequence[str] = STUDIES
    workers: int = 1
    _start: float = dataclasses.field(default_factory=time.monotonic, init=False)
    _writing: threading.Lock = dataclasses.field(default_factory=threading.Lock, init=False)

    def run(self, jobs: int) -> None:
        """Search, choose, train and measure.

        Raises:
            RuntimeError: If a command fails; the same command goes on.
        """
        with ThreadPoolExecutor(jobs) as pool:
            searches = {pool.submit(self._search, study): study for study in reversed(self.studies)}  # longest first
            finals: list[Future[None]] = []
            for search in as_completed(searches):
                search.result()
                study = searches[search]
                numbers = {pick.trial.number for pick in self.picks(study)}
                finals += [pool.submit(self._measure, study, number) for number in sorted(numbers)]
                if study == JOINT:
                    ranked = [trial.number for trial in self._ranked()]
                    settings = self._ranking_settings()
                    finals += [pool.submit(self._evaluate, "rank", JOINT, number, settings) for number in ranked]
            for final in finals:
                final.result()

    def picks(self, study: str) -> list[Pick]:
        """The chosen designs of a search that is done."""
        opened = self._open(study)
        chosen = choose(study, pareto_report(opened).trials)
        return [Pick(study, label, trial, self._measured(opened, trial.number)) for label, trial in chosen.items()]

    def costs(self) -> list[dict[str, Any]]:
        """Each command that ended, well or not: study, what ("search", "measure" or "rank"), wall and CPU seconds."""
        path = self.folder / "costs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def judged(self) -> int:
        """Designs that the searches evaluated."""
        return sum(len(pareto_report(self._open(study)).trials) for study in self.studies)

    def rankings(self) -> tuple[list[float], list[float]]:
        """Accuracy under variation of designs of the joint search: as the search judged, and trained on their own."""
        opened = self._open(JOINT)
        searched, own = [], []
        for trial in self._ranked():
            if found := _newest(opened, trial.number, self._ranking_settings()):
                searched.append(float(trial.user_attrs["accuracy_mean"]))
                own.append(VariationReport.from_dict(found["validation"]).mean)
        return searched, own

    def _search(self, study: str) -> None:
        path = self._study_file(study)
        trials = yaml.safe_load(path.read_text())["trials"]
        with contextlib.suppress(ValueError):  # no study yet
            if len(pareto_report(self._open(study)).trials) >= trials:
                return
        self._nacim(study, "search", "run", path, "--workers", self.workers, "--trials", trials)

    def _measure(self, study: str, number: int) -> None:
        for sigma_scale in SIGMA_SCALES:
            self._evaluate("measure", study, number, self._final_settings(sigma_scale))

    def _evaluate(self, what: str, study: str, number: int, settings: dict[str, Any]) -> None:
        """Train on its own and measure, if that has not been done with these settings."""
        if _newest(self._open(study), number, settings):
            return
        words = [[f"--{name.replace('_', '-')}", value] for name, value in settings.items()]
        self._nacim(study, what, "evaluate", self._study_file(study), "--trial", number, *itertools.chain(*words))

    def _final_settings(self, sigma_scale: float) -> dict[str, Any]:
        chips = self.scale.chips if sigma_scale == 1 else self.scale.chips // 4
        others = ("images_per_chip", "epochs", "train_images", "test_images")
        return {"sigma_scale": sigma_scale, "chips": chips} | {name: getattr(self.scale, name) for name in others}

    def _ranking_settings(self) -> dict[str, Any]:
        """Images and chips are the study's: training alone tells the two judgements apart."""
        variation, dataset = (self._content(JOINT)[section] for section in ("variation", "dataset"))
        chips = {"chips": variation["max_chips"], "images_per_chip": variation["images_per_chip"]}
        images = {name: dataset[name] for name in ("train_images", "test_images")}
        return chips | {"epochs": self.scale.ranked_epochs} | images

    def _ranked(self) -> list[FrozenTrial]:
        """Designs from all of the search."""
        trials = pareto_report(self._open(JOINT)).trials
        count = min(self.scale.ranked, len(trials))
        return [trials[place * len(trials) // count] for place in range(count)]

    def _measured(self, opened: optuna.Study, number: int) -> dict[float, dict[str, Any]]:
        found = {scale: _newest(opened, number, self._final_settings(scale)) for scale in SIGMA_SCALES}
        return {scale: entry for scale, entry in found.items() if entry}

    def _open(self, study: str) -> optuna.Study:
        return load_study_read_only(f"sqlite:///{self.folder / study / 'study.db'}", study)

    def _study_file(self, study: str) -> Path:
        """The study file of this scale, in the output folder; commands may be reading it."""
        path, text = self.folder / f"{study}.yaml", yaml.safe_dump(self._content(study), sort_keys=False)
        with self._writing:
            if not path.is_file() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return path

    def _content(self, study: str) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((ROOT / "studies" / f"{study}.yaml").read_text())
        for section, keys in self.scale.changes.items():
            content[section] = content[section] | keys
        return content | {"seed": self.seed, "trials": self.scale.trials.get(study, content["trials"])}

    def _nacim(self, study: str, what: str, *words: object) -> None:
        """Run a command, show its lines and note what it cost."""
        command = [sys.executable, "-m", "pipeline", *map(str, words), "--data-dir", str(self.data_dir)]
        command += ["--out", str(self.folder / study)]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout:
            print(f"{(time.monotonic() - self._start) / 60:5.1f} min  {study}: {line}", end="", flush=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime
        note = {"study": study, "what": what, "wall_s": time.monotonic() - start, "cpu_s": cpu_s}
        with self._writing, (self.folder / "costs.jsonl").open("a") as file:
            file.write(json.dumps(note) + "\n")
        if process.returncode:
            raise RuntimeError(f"nacim {' '.join(map(str, words))} ended with {process.returncode}; see above")


def _newest(opened: optuna.Study, number: int, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The last measurement of a trial with these settings."""
    wanted = {"sigma_scale": 1.0} | settings
    entries = [e for e in remeasured(opened.user_attrs, number) if e["settings"] | wanted == e["settings"]]
    return entries[-1] if entries else None


def tables(experiments: Mapping[int, Experiment]) -> str:
    """All that the databases of each seed say, as Markdown."""
    texts, answers = [], {}
    for seed, experiment in experiments.items():
        picks = [pick for study in experiment.studies for pick in experiment.picks(study)]
        answers[seed] = answered(picks, experiment.costs(), experiment.judged())
        texts += [f"### Seed {seed}", chosen_designs(picks), designs(picks), over_sigma(picks)]
        searched, own = experiment.rankings()
        if searched:
            texts.append(ranking(np.array(searched), np.array(own)))
    return "\n\n".join([claims(answers), *texts])


def chosen_designs(picks: list[Pick]) -> str:
    """The chosen designs, those of the paper above them."""
    heads = ["design", "trial", "as trained", "no variation", "under variation (95 %)", "loss", "worst chip", "TOPS/W"]
    rows = []
    for published in PAPER:
        before, after = published.accuracy_noiseless, published.accuracy_mean
        loss = "" if before is None or after is None else f"{100 * (before - after):.2f}"
        efficiency = published.tops_per_watt
        ratio = "" if efficiency is None else f"{efficiency / PLAIN.tops_per_watt:.2f}"
        rows.append([published.name, "", "", _percent(before), _percent(after), loss, "", _number(efficiency), ratio])
    for pick in picks:
        test = pick.test()
        under = f"{_percent(test.mean)} ({100 * test.mean_low:.1f} to {100 * test.mean_high:.1f})"
        cells = [f"{pick.study} {pick.trial.number}", _percent(test.float_accuracy), _percent(test.noiseless), under]
        cells += [f"{100 * pick.loss():.2f}", _percent(test.worst), _number(pick.tops_per_watt), _ratio(pick, picks)]
        rows.append([pick.label, *cells])
    return table([*heads, "ratio"], rows)


def designs(picks: list[Pick]) -> str:
    """What was chosen, bits included."""
    shown = {(p.study, p.trial.number): describe(DesignPoint.from_dict(p.trial.user_attrs["design"])) for p in picks}
    return "\n".join(f"- {study} {number}: {text}" for (study, number), text in shown.items())


def over_sigma(picks: list[Pick]) -> str:
    """Accuracy under variation at multiples of the cards' programming error."""
    rows = [
        [pick.label, *(f"{_percent(pick.test(s).mean)} (loss {100 * pick.loss(s):.2f})" for s in SIGMA_SCALES)]
        for pick in picks
    ]
    return table(["design", *(f"sigma x {scale:g}" for scale in SIGMA_SCALES)], rows)


def ranking(searched: np.ndarray, own: np.ndarray) -> str:
    """How the search ranks designs, against training each on its own."""
    tau, low, high = tau_with_interval(searched, own)
    lost = own.max() - own[searched.argmax()]
    return (
        f"Of {len(own)} designs of the joint search, all trained on their own as well: Kendall's tau between the two "
        f"accuracies under variation {tau:.2f} (95 % interval {low:.2f} to {high:.2f}); the design that the search "
        f"puts first is {100 * lost:.1f} points below the best."
    )


def claims(answers: Mapping[int, Sequence[str]]) -> str:
    """The questions (a) to (e), the paper's figure and, for each seed, ours."""
    questions = [
        ("(a) loss of a design searched and trained without variation, points", "76.44"),
        ("(a) the same, from the network as trained", ""),
        ("(b) loss of the joint design towards accuracy, points", "0.45"),
        ("(b) the same, from the network as trained", ""),
        ("(c) TOPS/W, joint towards efficiency over accuracy alone", "3.17"),
        (f"(d) accuracy under variation at {EFFICIENT.tops_per_watt} TOPS/W or more", "not in our source"),
        ("(e) cost of the joint search", "59 GPU h"),
        ("(e) of all three searches", ""),
        ("(e) of training and measuring the chosen designs", ""),
        ("(e) designs judged per CPU hour of searching", ""),
    ]
    rows = [[*question, *cells] for question, *cells in zip(questions, *answers.values(), strict=True)]
    return table(["question", "paper", *(f"seed {seed}" for seed in answers)], rows)


def answered(picks: list[Pick], costs: list[dict[str, Any]], judged: int) -> list[str]:
    """What one seed says to the questions of `claims`."""
    plain = [pick for pick in picks if pick.study == QUANTNAS]
    robust, efficient, *at_least = [pick for pick in picks if pick.study == JOINT]
    hours: defaultdict[tuple[str, str], float] = defaultdict(float)
    for cost in costs:
        hours[cost["what"], cost["study"]] += cost["cpu_s"] / 3600
    wall_min = sum(cost["wall_s"] / 60 for cost in costs if (cost["what"], cost["study"]) == ("search", JOINT))
    searching, measuring = (sum(h for (w, _), h in hours.items() if w == what) for what in ("search", "measure"))
    reached = f"{_percent(at_least[0].test().mean)} at {at_least[0].tops_per_watt:.1f} TOPS/W" if at_least else "none"
    return [
        *([] if plain else ["", ""]),
        *(f"{100 * loss:.2f}" for pick in (*plain, robust) for loss in (pick.loss(), pick.loss_as_trained())),
        _ratio(efficient, picks),
        reached,
        f"{hours['search', JOINT]:.2f} CPU h in {wall_min:.0f} min",
        *(f"{spent:.2f} CPU h" for spent in (searching, measuring)),
        f"{judged / searching:.0f}" if searching else "not noted",
    ]


def _ratio(pick: Pick, picks: Sequence[Pick]) -> str:
    """TOPS/W over that of the accuracy-only design, if there is one."""
    plain = next((pick for pick in picks if pick.study == QUANTNAS), None)
    return "" if plain is None else f"{pick.tops_per_watt / plain.tops_per_watt:.2f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--scale", choices=SCALES, default="reduced")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the searches, one after another")
    parser.add_argument("--joint-only", action="store_true", help="only the joint search and its designs")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time, one core each")
    parser.add_argument("--workers", type=int, default=1, help="of each search, one core each")
    parser.add_argument("--out", type=Path, help="results/paper-SCALE otherwise; each seed has a folder in it")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/paper.md")
    options = parser.parse_args()
    folder = (options.out or Path("results") / f"paper-{options.scale}").resolve()
    scale, data_dir = SCALES[options.scale], options.data_dir.resolve()
    studies = (JOINT,) if options.joint_only else STUDIES
    experiments = {
        seed: Experiment(scale, folder / f"seed-{seed}", data_dir, seed, studies, options.workers)
        for seed in options.seeds
    }
    for experiment in experiments.values():
        experiment.run(options.jobs)
    text = tables(experiments)
    (folder / "paper.md").write_text(text + "\n")
    print(f"\n{text}\n\nwritten to {folder / 'paper.md'}")
    if options.write:
        write_block(PAGE, options.scale, text)


if __name__ == "__main__":
    main()
