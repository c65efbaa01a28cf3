"""docs/paper.md: its tables are what the databases beside it say."""

import gzip
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import paper  # noqa: E402  a script, not of a package
import paper_best  # noqa: E402

PACKED = ROOT / "docs" / "paper"


def unpacked(scale, seed, folder) -> paper.Experiment:
    packed = PACKED / scale / f"seed-{seed}"
    studies = [study for study in paper.STUDIES if (packed / f"{study}.db.gz").is_file()]
    for study in studies:
        (folder / study).mkdir(parents=True)
        (folder / study / "study.db").write_bytes(gzip.decompress((packed / f"{study}.db.gz").read_bytes()))
    (folder / "costs.jsonl").write_text((packed / "costs.jsonl").read_text())
    return paper.Experiment(paper.SCALES[scale], folder, folder / "no data", seed, studies)


@pytest.fixture
def experiment(tmp_path) -> paper.Experiment:
    return unpacked("reduced", 1, tmp_path)


@pytest.mark.parametrize("scale", paper.SCALES)
def test_the_tables_in_the_documentation_are_made_from_the_databases_beside_it(tmp_path, scale):
    page = (ROOT / "docs" / "paper.md").read_text()
    seeds = sorted(int(folder.name.removeprefix("seed-")) for folder in (PACKED / scale).iterdir())
    experiments = {seed: unpacked(scale, seed, tmp_path / str(seed)) for seed in seeds}
    assert page.split(f"<!-- {scale} -->\n")[1].split(f"\n<!-- end of {scale} -->")[0] == paper.tables(experiments)


def test_what_is_done_is_not_done_again(experiment, monkeypatch):
    monkeypatch.setattr(paper.Experiment, "_nacim", None)
    experiment.run(2)


def test_what_is_missing_is_done(experiment, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(paper.Experiment, "_nacim", lambda self, study, what, *words: called.append((study, what)))
    monkeypatch.setitem(paper.SCALES["reduced"].trials, "cifar10_ptbnas", 17)
    monkeypatch.setattr(paper, "SIGMA_SCALES", (1.0, 8.0))
    experiment.run(1)
    assert called[0] == ("cifar10_ptbnas", "search")
    assert set(called[1:]) == {(study, "measure") for study in paper.STUDIES}


def test_a_design_is_chosen_by_what_validation_images_say(experiment):
    plain, robust, efficient, at_least = (
        experiment.picks(study)[place].trial
        for study, place in [("cifar10_quantnas", 0), *(("cifar10_nacim", place) for place in range(3))]
    )
    others = experiment._open("cifar10_nacim").get_trials()
    accuracies = [t.user_attrs["accuracy_mean"] for t in others if "accuracy_mean" in t.user_attrs]
    assert robust.user_attrs["accuracy_mean"] == max(accuracies)
    assert efficient.user_attrs["accuracy_mean"] >= max(accuracies) - paper.SERVES
    assert at_least.user_attrs["tops_per_watt"] >= 16.3
    assert plain.user_attrs["accuracy_noiseless"] == plain.values[0]


@pytest.mark.parametrize(("block", "made"), [("best", paper_best.best), ("losses", paper_best.losses)])
def test_the_tables_of_the_best_designs_are_made_from_the_databases_beside_the_page(tmp_path, block, made):
    page = (ROOT / "docs" / "paper.md").read_text()
    table = made(paper_best.unpack(tmp_path))
    assert page.split(f"<!-- {block} -->\n")[1].split(f"\n<!-- end of {block} -->")[0] == table
