"""Samplers: resumable, without duplicates, and as good as docs/samplers.md says."""

import importlib
import itertools
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import fake_evaluation
import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from test_runner import StopAfter

from hw_models.errors import InfeasibleDesign
from pipeline.database.open_study import open_study
from pipeline.design.pareto import nondominated
from pipeline.networks.workload import cost_before_training
from pipeline.run.runner import Runner
from pipeline.samplers import generation_of, make_sampler
from pipeline.samplers.breeding import child, rank_and_crowding, tournament
from pipeline.samplers.genome import Genome
from pipeline.samplers.preselection import Preselection, fit
from pipeline.samplers.reinforce import Controller
from pipeline.study.sampler_spec import SAMPLERS, SamplerChoice
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition, load_study, study_schema
from pipeline.study.study_spec import METRICS, StudySpec

ROOT = Path(__file__).parent.parent
EVOLVING = [name for name, choice in SAMPLERS.items() if choice.learns_from == "earlier generations"]


@pytest.fixture
def study_of(tiny, write_study):
    """A tiny study with a sampler and objectives of choice."""

    def make(
        name: str = "nsga2", objectives: tuple[str, ...] = ("accuracy_mean", "tops_per_watt"), **settings
    ) -> StudyDefinition:
        tiny["sampler"] = {"name": name, **settings}
        tiny["objectives"] = list(objectives)
        return load_study(write_study(tiny))

    return make


def new_study(study: StudyDefinition) -> optuna.Study:
    directions = [METRICS[name].direction for name in study.spec.objectives]
    return optuna.create_study(sampler=make_sampler(study), directions=directions)


def go_on(
    study: StudyDefinition,
    opened: optuna.Study,
    trials: int,
    resumed_at: Collection[int] = (),
    marked: Mapping[int, str] = MappingProxyType({}),
) -> list[dict]:
    """Ask and tell made-up values; before some trials the sampler is replaced, as after a restart."""
    space = SearchSpace(study)
    for number in range(len(opened.trials), trials):
        if number in resumed_at:
            opened.sampler = make_sampler(study)
        trial = opened.ask()
        try:
            design = space.suggest(trial)
        except InfeasibleDesign:
            opened.tell(trial, state=TrialState.PRUNED)
            continue
        if number in marked:
            trial.set_user_attr(marked[number], True)
        measured = fake_evaluation.made_up_result(design, 0).measured
        opened.tell(trial, [measured[name] for name in study.spec.objectives])
    return [trial.params for trial in opened.trials]


def trial_of(genome: Genome, genes: np.ndarray, values: list[float]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(params=genome.parameters(genes), distributions=genome.distributions, values=values)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_study_has_the_trials_of_one_that_was_not_cut(name, study_of):
    study = study_of(name)
    trials = 12 if name == "gp" else 26
    whole = go_on(study, new_study(study), trials)
    assert go_on(study, new_study(study), trials, resumed_at={3, 10, 11, 13, 21, 25}) == whole
    assert len({str(parameters) for parameters in whole}) > trials / 3, "trials draw different designs"


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "gp"])
def test_a_trial_cut_off_while_it_is_asked_gets_the_same_values_again(name, study_of):
    """Also the first one of a generation, for which the sampler has just selected parents."""
    study = study_of(name)
    asked = []
    for cut in (False, True):
        opened = new_study(study)
        go_on(study, opened, 20)
        trial = opened.ask()
        if cut:
            dimensions = SearchSpace(study).searched()
            trial.suggest_categorical("device", dimensions["device"].values)
            opened.sampler = make_sampler(study)
            trial = optuna.Trial(opened, trial._trial_id)
        SearchSpace(study).suggest(trial)
        asked.append(trial.params)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_seeds_differ(name, tiny, write_study):
    tiny["sampler"] = {"name": name}
    first, second = (load_study(write_study(tiny), seed=seed) for seed in (1, 2))
    assert go_on(first, new_study(first), 5) != go_on(second, new_study(second), 5)


@pytest.mark.parametrize("name", EVOLVING)
def test_evolution_proposes_each_design_once_until_none_is_left(name, tiny, write_study):
    tiny["hardware"] = {"device": ["sram", "rram"], "adc_bits": {"low": 4, "high": 8}, "cell_bits": [1, 2]}
    tiny["network"] = {"convs": [{"filters": [4, 8]}]}
    tiny["sampler"] = {"name": name, "population_size": 4}
    study = load_study(write_study(tiny))
    space = SearchSpace(study)
    parameters = go_on(study, new_study(study), 30)  # SRAM cells hold one bit: 40 sets of values make 30 designs
    assert len({space.design_of(one).content_hash for one in parameters}) == 30
    assert len(go_on(study, new_study(study), 33)) == 33, "then it repeats itself"


def test_designs_that_cannot_exist_are_not_proposed(tiny, write_study):
    tiny["network"]["convs"] = [
        {"filters": [4, 8], "pool": [True, False]} for _ in range(4)
    ]  # four poolings are too many
    tiny["sampler"] = {"name": "nsga2", "population_size": 5}
    study = load_study(write_study(tiny))
    opened = new_study(study)
    go_on(study, opened, 25)
    for trial in opened.trials:
        SearchSpace(study).design_of(trial.params)


def test_the_first_generation_takes_each_value_equally_often(study_of):
    study = study_of(population_size=8)
    first = go_on(study, new_study(study), 8)
    devices, bits = ([one[name] for one in first] for name in ("device", "adc_bits"))
    assert {devices.count(device) for device in ("sram", "rram")} == {4}
    assert {bits.count(value) for value in (5, 6, 7, 8)} == {2}
    assert len({str(one) for one in first}) == 8, "parameters are not tied to each other"


def test_parents_are_the_best_and_least_crowded():
    losses = np.array([[0.0, 4.0], [1.0, 3.0], [1.2, 2.8], [4.0, 0.0], [2.0, 4.0], [5.0, 5.0]])
    rank, crowding = rank_and_crowding(losses)
    assert rank.tolist() == [0, 0, 0, 0, 1, 2]
    # second: (1.2 - 0) / 4 + (4 - 2.8) / 4; third: (4 - 1) / 4 + (3 - 0) / 4
    assert crowding[:4].tolist() == pytest.approx([np.inf, 0.6, 1.5, np.inf])
    wins = np.bincount([tournament(np.random.default_rng(k), rank, crowding) for k in range(600)], minlength=6)
    assert wins[5] < wins[4] < wins[1] < wins[2] < wins[0] + wins[3]


def test_feasible_parents_come_first_and_the_others_by_violation():
    losses = np.array([[1.0, 2.0], [0.0, 0.0], [2.0, 1.0], [0.5, 0.5], [1.5, 1.5], [3.0, 3.0]])
    rank, crowding = rank_and_crowding(losses, np.array([0.0, 0.3, 0.0, 0.1, 0.0, 0.2]))
    assert rank.tolist() == [0, 3, 0, 1, 0, 2]
    assert crowding[4] == pytest.approx(2), "(2 - 1) / (2 - 1) for either objective; the infeasible crowd no one"


def test_parents_that_break_the_constraints_are_ranked_by_violation(tiny, write_study):
    tiny["constraints"] = ["tops_per_watt >= 1000"]
    study = load_study(write_study(tiny))
    opened, genome = new_study(study), Genome(SearchSpace(study))
    go_on(study, opened, 4)
    pool = opened.sampler._pool_of(opened, 1)
    violations = [genome.violation(genes) for genes in pool.genes]
    assert pool.rank.tolist() == [sorted(violations).index(violation) for violation in violations]
    assert sorted(pool.rank) != pool.rank.tolist(), "else this test shows nothing"


def test_violations_of_several_constraints_add_up(tiny, write_study):
    tiny["constraints"] = ["area_mm2 <= 0.01", "tops_per_watt >= 1000", "latency_us <= 1e9"]
    genome = Genome(SearchSpace(load_study(write_study(tiny))))
    genes = np.zeros_like(genome.sizes)
    known = cost_before_training(genome.design(genes))
    area, efficiency = 1e6 * known["area_m2"] / 0.01 - 1, 1 - known["tops_per_watt"] / 1000
    assert min(area, efficiency) > 0.5
    assert genome.violation(genes) == pytest.approx(area + efficiency), (
        "a constraint that is kept does not offset another"
    )


def test_children_take_genes_of_both_parents_and_mutate_into_other_values():
    sizes = np.full(2000, 3)
    first, second = np.zeros(2000, dtype=int), np.ones(2000, dtype=int)
    crossed = [child(np.random.default_rng(k), first, second, sizes, 0.0) for k in range(50)]
    assert set(np.unique(crossed)) == {0, 1}
    assert sum(not one.any() for one in crossed) in range(1, 13)  # one in ten is a copy: 5 of 50, deviation 2.1
    mutated = child(np.random.default_rng(0), first, first, sizes, 0.25)
    assert (mutated != 0).mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 2000))
    assert set(np.unique(mutated)) == {0, 1, 2}


def test_a_surrogate_passes_near_its_observations_and_returns_to_their_mean_far_away():
    points = np.linspace(0, 4, 15)[:, None]
    surrogate = fit(points, np.sin(points[:, 0]))
    assert surrogate.at(points) == pytest.approx(np.sin(points[:, 0]), abs=0.05)
    assert surrogate.at(np.array([[1.1]])) == pytest.approx(np.sin(1.1), abs=0.05)
    assert surrogate.at(np.array([[1e6]])) == pytest.approx(np.sin(points).mean())


def test_costs_are_exact_in_the_preselection_and_accuracy_is_learnt(study_of):
    genome = Genome(SearchSpace(study_of(objectives=("area_m2", "accuracy_mean"))))
    rng = np.random.default_rng(0)

    def values(genes: np.ndarray) -> list[float]:
        parameters = genome.parameters(genes)
        accuracy = 0.5 + 0.05 * (parameters["adc_bits"] - 5) + 0.1 * (parameters["device"] == "sram")
        return [cost_before_training(genome.design(genes))["area_m2"], accuracy]

    drawn = [genome.random(rng) for _ in range(50)]
    preselection = Preselection(genome, [trial_of(genome, genes, values(genes)) for genes in drawn[:40]])
    expected = preselection.expected(np.array(drawn[40:]))
    area, accuracy = np.transpose([values(genes) for genes in drawn[40:]])
    assert expected[:, 0] == pytest.approx(area)
    assert -expected[:, 1] == pytest.approx(accuracy, abs=0.03)


@pytest.mark.parametrize(
    "objectives",
    [
        pytest.param(("accuracy_mean",), id="one that needs training"),
        pytest.param(("area_m2", "energy_j"), id="none that needs training"),
        pytest.param(("accuracy_mean", "tops_per_watt", "area_m2"), id="three"),
    ],
)
@pytest.mark.parametrize("name", [*EVOLVING, "reinforce"])
def test_our_samplers_take_any_objectives(name, objectives, study_of):
    study = study_of(name, objectives)
    assert len(go_on(study, new_study(study), 25)) == 25


def test_where_no_candidate_adds_hypervolume_one_is_chosen_that_no_other_dominates(study_of):
    """All candidates have larger areas than anything measured, which is where hypervolume begins."""
    genome = Genome(SearchSpace(study_of(objectives=("area_m2", "latency_s"))))
    drawn = sorted((genome.random(np.random.default_rng(k)) for k in range(60)), key=lambda g: genome.cost_losses(g)[0])
    measured, candidates = drawn[:20], np.array(drawn[22:][::-1])
    preselection = Preselection(genome, [trial_of(genome, genes, genome.cost_losses(genes)) for genes in measured])
    best = nondominated(np.array([genome.cost_losses(genes) for genes in candidates]))
    assert not best[0], "else this test shows nothing"
    assert best[preselection.best(candidates, {0: drawn[20], 1: drawn[21]})]


def test_a_candidate_like_a_sibling_is_not_chosen(study_of):
    """What a sibling adds to the front is added already, though its training is not finished."""
    genome = Genome(SearchSpace(study_of()))
    rng = np.random.default_rng(0)
    measured = [trial_of(genome, genome.random(rng), [0.1 + rng.random() / 10, 0.1]) for _ in range(20)]
    candidates = np.array([genome.random(rng) for _ in range(20)])
    preselection = Preselection(genome, measured)
    first = preselection.best(candidates, {})
    second = preselection.best(candidates, {20: candidates[first]})
    assert (candidates[second] != candidates[first]).any()


def test_the_preselection_is_given_finished_trainings_and_the_siblings_before(study_of, monkeypatch):
    learnt, siblings_of = [], []

    class Recorder(Preselection):
        def __init__(self, genome, finished):
            learnt.append([trial.number for trial in finished])
            super().__init__(genome, finished)

        def best(self, candidates, siblings):
            siblings_of.append(list(siblings))
            return super().best(candidates, siblings)

    monkeypatch.setattr("pipeline.samplers.evolution.Preselection", Recorder)
    study = study_of(population_size=5)
    opened = new_study(study)
    go_on(study, opened, 8, marked={1: "stopped_early", 3: "infeasible"})
    assert learnt == [[0, 2, 4]]
    assert siblings_of == [[], [5], [5, 6]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_a_database_holds_of_a_study_can_be_read_again(name, study_of):
    study = study_of(name)
    stored = {key: value for key, value in study.identity().items() if key != "devices"}
    assert StudySpec.model_validate(stored).sampler.name == name


def test_without_candidates_nothing_is_forecast(study_of, monkeypatch):
    def forecast(*_: object) -> None:
        raise AssertionError("a forecast was made")

    monkeypatch.setattr("pipeline.samplers.preselection.fit", forecast)
    plain, default = study_of(population_size=5, candidates=1), study_of(population_size=5)
    opened = new_study(plain)
    go_on(plain, opened, 12)
    assert max(generation_of(trial) for trial in opened.trials) == 2
    with pytest.raises(AssertionError, match="a forecast was made"):
        go_on(default, new_study(default), 12)


@pytest.fixture
def controller():
    """A policy away from where all choices are alike."""
    controller = Controller([2, 3], np.random.default_rng(0))
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter *= 12
    return controller


def test_the_controllers_choices_follow_its_own_probabilities(controller):
    all_made = list(itertools.product(range(2), range(3)))
    probabilities = [controller.objective(made, 1.0, 0.0).exp().item() for made in all_made]
    assert sum(probabilities) == pytest.approx(1)
    assert max(probabilities) > 2 * min(probabilities), "else this test shows nothing"
    rng = np.random.default_rng(1)
    drawn = [tuple(controller.sample(rng)) for _ in range(1000)]
    for made, p in zip(all_made, probabilities, strict=True):
        assert drawn.count(made) / 1000 == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 1000))


def test_the_controllers_objective_counts_the_entropy_of_each_decision(controller):
    first, second = controller.log_probabilities([1])
    entropies = [-(log_p.exp() * log_p).sum().item() for log_p in (first, second)]
    of_choices = first[1].item() + second[2].item()
    assert controller.objective([1, 2], -0.5, 0.3).item() == pytest.approx(-0.5 * of_choices + 0.3 * sum(entropies))


def test_reinforce_learns_what_earns_more(study_of):
    """Each trial is worth its ADC bits: the mean of the last trials is far above that of chance."""
    study = study_of("reinforce", ("accuracy_mean",))
    opened = new_study(study)
    space = SearchSpace(study)
    for _ in range(150):
        trial = opened.ask()
        space.suggest(trial)
        opened.tell(trial, trial.params["adc_bits"] / 8)
    last = [trial.params["adc_bits"] for trial in opened.trials[-40:]]
    assert np.mean(last) > 6.5 + 4 * np.sqrt(1.25 / 40)  # 5 to 8 at random: mean 6.5, variance 1.25


def test_settings_of_another_sampler_are_refused(study_of):
    with pytest.raises(ValueError, match=r"sampler: population_size is no setting of tpe; .*nsga2 or nsga3"):
        study_of("tpe", population_size=5)
    with pytest.raises(ValueError, match=r"sampler\.name: "):
        study_of("nsga4")


def test_only_the_sampler_that_is_named_is_loaded():
    code = f"""
import sys
from pathlib import Path
from pipeline.samplers import make_sampler
assert "optuna" not in sys.modules
from pipeline.study.study_file import load_study
make_sampler(load_study(Path({str(ROOT / "studies" / "digits.yaml")!r})))
assert "pipeline.samplers.reinforce" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


class SmallestValues(optuna.samplers.RandomSampler):
    """A sampler from outside: the first value of every parameter."""

    def __init__(self, seed: int, genome: Genome, candidates: int) -> None:
        super().__init__(seed)
        self.genome, self.candidates = genome, candidates

    def infer_relative_search_space(self, study, trial):
        return self.genome.distributions

    def sample_relative(self, study, trial, search_space):
        return self.genome.parameters(np.zeros_like(self.genome.sizes))


def test_a_class_and_an_entry_make_a_new_sampler(tiny, write_study, tmp_path, monkeypatch):
    entry = SamplerChoice(
        source="test_samplers:SmallestValues", meaning="a test's", learns_from="nothing", settings=("candidates",)
    )
    monkeypatch.setitem(SAMPLERS, "smallest", entry)
    tiny["sampler"] = {"name": "smallest", "candidates": 7}
    study = load_study(write_study(tiny))
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    assert opened.sampler.inner.candidates == 7, "the tiny space is small enough to be enumerated"
    Runner(study, opened, tmp_path, 1, StopAfter(0), fake_evaluation.evaluate).run(1)
    smallest = {name: dimension.values[0] for name, dimension in SearchSpace(study).searched().items()}
    assert [trial.params for trial in opened.trials] == [smallest]
    tiny["sampler"] = {"name": "smallest", "population_size": 7}
    with pytest.raises(ValueError, match="population_size is no setting of smallest"):
        load_study(write_study(tiny))
    name = study_schema()["$defs"]["SamplerSpec"]["properties"]["name"]
    assert "smallest" in name["enum"]


def test_the_documentation_lists_the_samplers_there_are(benchmark):
    """When this fails: python benchmarks/samplers.py list --write"""
    assert benchmark.list_of_samplers() in benchmark.PAGE.read_text()


def test_the_fronts_own_points_are_not_dominated():
    rank, _ = rank_and_crowding(losses := np.random.default_rng(0).random((40, 3)))
    assert (rank == 0).tolist() == nondominated(losses).tolist()


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/samplers.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("samplers")


def test_the_table_holds_each_design_once(benchmark):
    rows = benchmark.load_table()
    assert len({benchmark.design_of(row).content_hash for row in rows}) == len(rows) >= 2000
    assert all(0 <= row["accuracy_mean"] <= 1 for row in rows)


@pytest.mark.slow
def test_the_benchmarks_surrogate_predicts_designs_that_it_has_not_seen(benchmark):
    quality = benchmark.held_out(folds=3)
    assert quality["R2"] > 0.9
    assert quality["Kendall tau"] > 0.75
    assert quality["mean absolute error"] < 0.035


@pytest.mark.slow
def test_the_default_finds_more_than_plain_nsga2_and_random_in_as_many_trials(benchmark):
    problem = benchmark.Problem()
    samplers = {
        "default": benchmark.named("nsga2"),
        "plain": benchmark.named("nsga2", candidates=1),
        "random": benchmark.named("random"),
    }
    volumes = {
        name: np.mean([benchmark.search(problem, make(seed), 50)["history"][-1] for seed in (0, 1)])
        for name, make in samplers.items()
    }
    assert volumes["default"] > 1.3 * max(volumes["plain"], volumes["random"]), volumes


def test_designs_that_break_a_constraint_are_not_proposed_if_others_can_be_found(tiny, write_study):
    genome = Genome(SearchSpace(load_study(write_study(tiny))))
    rng = np.random.default_rng(0)
    half = np.median([-genome.cost_losses(genome.random(rng))[0] for _ in range(100)])
    tiny["constraints"] = [f"tops_per_watt >= {half:.4g}"]
    study = load_study(write_study(tiny))
    genome = Genome(SearchSpace(study))
    for parameters in go_on(study, new_study(study), 20):
        assert genome.violation(genome.genes(parameters)) == 0


def test_where_no_design_keeps_the_constraints_those_that_break_them_least_are_proposed(tiny, write_study):
    tiny["constraints"] = ["tops_per_watt >= 1000"]
    study = load_study(write_study(tiny))
    genome = Genome(SearchSpace(study))
    rng = np.random.default_rng(0)
    drawn = [genome.violation(genome.random(rng)) for _ in range(100)]
    proposed = [genome.violation(genome.genes(parameters)) for parameters in go_on(study, new_study(study), 12)]
    assert max(proposed) <= np.median(drawn)
