"""The database: what is refused, and that nothing is written then."""

import sqlite3

import optuna
import pytest
from snapshot import snapshot

from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.storage import StudyError, show_url
from pipeline.study.study_file import SCHEMA_VERSION, load_study


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
    before = snapshot(tmp_path)
    with pytest.raises(StudyError) as caught:
        open_study(study, url)
    assert "study.db" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_study_cut_off_while_it_was_made_is_made_again(study, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="tiny", storage=url)
    assert open_study(study, url).user_attrs["nacim_schema"] == SCHEMA_VERSION


def test_a_study_without_trials_may_change_for_who_holds_it_alone(tiny, write_study, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(load_study(write_study(tiny)), url)
    tiny["training"]["learning_rate"] = 0.001
    changed = load_study(write_study(tiny))
    assert open_study(changed, url, replace_empty=True).user_attrs["identity"] == changed.identity()
    opened = open_study(changed, url)
    opened.ask()
    tiny["training"]["learning_rate"] = 0.002
    with pytest.raises(StudyError, match="learning_rate"):
        open_study(load_study(write_study(tiny)), url, replace_empty=True)


def test_reading_does_not_make_a_database(tmp_path):
    with pytest.raises(StudyError, match="no such database"):
        load_study_read_only(f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/db", "postgresql://host/db?user=me&password=secret"])
def test_passwords_are_not_shown(url):
    assert "secret" not in show_url(url)
    assert "host/db" in show_url(url)
