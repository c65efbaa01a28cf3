"""The database: what is refused, and that nothing is written then."""

import sqlite3

import optuna
import pytest

from pipeline.storage import StudyError, show_url
from pipeline.study import ReproducibleNSGAII, load_study_read_only, open_study
from pipeline.study_spec import SCHEMA_VERSION, load_study


@pytest.fixture
def study(tiny, write_study):
    return load_study(write_study(tiny))


def test_a_changed_space_is_refused_with_the_key_both_values_and_a_way_out(tiny, write_study, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(load_study(write_study(tiny)), url)
    tiny["hardware"]["adc_bits"] = {"low": 4, "high": 8}
    with pytest.raises(StudyError, match=r"hardware\.adc_bits\.low = 5, the file now says 4; .*new name"):
        open_study(load_study(write_study(tiny)), url)
    tiny["trials"] = 999
    tiny["hardware"]["adc_bits"] = {"low": 5, "high": 8}
    assert open_study(load_study(write_study(tiny)), url).study_name == "tiny"


@pytest.mark.parametrize("kind", ["garbage", "foreign", "newer", "foreign study", "directory"])
def test_databases_that_are_not_ours_are_refused_and_stay_as_they_are(study, tmp_path, kind):
    path = tmp_path / "study.db"
    url = f"sqlite:///{path}"
    if kind == "garbage":
        path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    elif kind == "foreign":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE birds (name TEXT)")
    elif kind == "newer":
        open_study(study, url).set_user_attr("nacim_schema", SCHEMA_VERSION + 1)
    elif kind == "foreign study":
        optuna.create_study(study_name="tiny", storage=url).optimize(lambda trial: 1.0, n_trials=1)
    else:
        path.mkdir()
    before = sorted(tmp_path.rglob("*")), path.read_bytes() if path.is_file() else b""
    with pytest.raises(StudyError) as caught:
        open_study(study, url)
    assert "study.db" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (sorted(tmp_path.rglob("*")), path.read_bytes() if path.is_file() else b"") == before


def test_a_study_cut_off_while_it_was_made_is_made_again(study, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="tiny", storage=url)
    assert open_study(study, url).user_attrs["nacim_schema"] == SCHEMA_VERSION


def test_reading_does_not_make_a_database(tmp_path):
    with pytest.raises(StudyError, match="no such database"):
        load_study_read_only(f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/db", "postgresql://host/db?user=me&password=secret"])
def test_passwords_are_not_shown(url):
    assert "secret" not in show_url(url)
    assert "host/db" in show_url(url)


def test_the_sampler_does_not_depend_on_what_it_drew_before():
    distribution = optuna.distributions.IntDistribution(0, 10**6)
    draws = []
    for warm_up in (0, 5):
        study = optuna.create_study(sampler=ReproducibleNSGAII(seed=1, population_size=2, mutation_prob=None))
        for _ in range(2):
            study.tell(study.ask(), 0.0)
        trial = study.ask()
        for i in range(warm_up):
            trial._suggest(f"other{i}", distribution)
        draws.append(trial._suggest("x", distribution))
    assert draws[0] == draws[1]


def test_the_first_generation_takes_each_value_equally_often():
    study = optuna.create_study(sampler=ReproducibleNSGAII(seed=5, population_size=20, mutation_prob=None))
    drawn = []
    for _ in range(20):
        trial = study.ask()
        drawn.append((trial.suggest_categorical("device", list("abcde")), trial.suggest_int("bits", 3, 9, step=2)))
        study.tell(trial, 0.0)
    devices, bits = zip(*drawn, strict=True)
    assert {devices.count(device) for device in "abcde"} == {4}
    assert {bits.count(value) for value in (3, 5, 7, 9)} == {5}
    assert len(set(drawn)) > 10, "parameters are not tied to each other"


def test_a_trial_cut_off_while_it_is_asked_gets_the_same_values_again():
    """Also the first one of a generation, for which the sampler has just selected parents."""

    def ask_to_the_end(trial: optuna.Trial, names: str) -> dict:
        return {name: trial.suggest_int(name, 0, 10**6) for name in names}

    values = []
    for cut in (False, True):
        sampler = ReproducibleNSGAII(seed=2, population_size=8, mutation_prob=0.3)
        study = optuna.create_study(sampler=sampler, directions=["minimize", "minimize"])
        for number in range(16):  # two generations, the best last
            trial = study.ask()
            ask_to_the_end(trial, "abcdef")
            study.tell(trial, [-number, (number * 5) % 8 - number])
        trial = study.ask()
        if cut:
            ask_to_the_end(trial, "abc")
            trial = optuna.Trial(study, trial._trial_id)
        values.append(ask_to_the_end(trial, "abcdef"))
    assert values[0] == values[1]
