"""`nacim status`: progress of a study, and its workers."""

from typing import TYPE_CHECKING, Any

from pipeline.cli.options import AsJson, Changes, OutFolder, StorageUrl, StudyFile, print_json, read_only_study
from pipeline.database import GRACE_BEATS, HEARTBEAT_S

if TYPE_CHECKING:
    import optuna
    from rich.table import Table


def status(
    study_file: StudyFile,
    storage: StorageUrl = None,
    out: OutFolder = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Show trials by state, progress to the goal, and the workers with their trials and last heartbeats."""
    from rich.console import Console

    study, _, url = read_only_study(study_file, storage, out, changes)
    found = _status(study, url)
    if as_json:
        print_json(found)
        return
    counts = ", ".join(f"{count} {name}" for name, count in found["trials"].items() if count)
    print(f"{found['study']}: {found['evaluated']}/{found['goal'] or '?'} evaluated trials ({counts or 'none'})")
    if found["workers"]:
        Console().print(_table(found["workers"]))
    else:
        print("no trial is running")


def _status(study: "optuna.Study", url: str) -> dict[str, Any]:
    from optuna.trial import TrialState

    from pipeline.database.heartbeat import heartbeats
    from pipeline.database.records import evaluated_trials, unfinished_trials
    from pipeline.database.storage import is_sqlite
    from pipeline.optuna_private import trial_id

    trials, unfinished = study.get_trials(deepcopy=False), unfinished_trials(study)
    beats = {} if is_sqlite(url) else heartbeats(study, unfinished)
    return {
        "study": study.study_name,
        "goal": (study.user_attrs.get("run") or {}).get("goal"),
        "evaluated": len(evaluated_trials(study)),
        "trials": {state.name.lower(): sum(trial.state is state for trial in trials) for state in TrialState},
        "workers": [
            trial.user_attrs.get("worker", {})
            | {
                "trial": trial.number,
                "interrupted": bool(trial.user_attrs.get("interrupted")),
                "silent_s": beats.get(trial_id(trial)),
                "outlived": len(trial.user_attrs.get("deaths", [])),
            }
            for trial in unfinished
        ],
    }


def _table(workers: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    heads = ("trial", "host", "process", "job", "last heartbeat", "state")
    table = Table(*heads, title="Unfinished trials", title_justify="left")
    for each in workers:
        silent_s = each["silent_s"]
        beat = "-" if silent_s is None else f"{silent_s:.0f} s ago"
        state = "free: handed back" if each["interrupted"] else ""
        if not state and silent_s is not None and silent_s > GRACE_BEATS * each.get("heartbeat_s", HEARTBEAT_S):
            state = "silent: perhaps dead"
        if each["outlived"]:
            state = f"{state} outlived {each['outlived']}".strip()
        cells = (each["trial"], each.get("host", "?"), each.get("pid", "?"), each.get("job", ""), beat, state)
        table.add_row(*map(str, cells))
    return table
