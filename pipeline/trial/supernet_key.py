"""A key of everything on which a supernet's weights depend."""

import hashlib
import json

from pipeline.data.spec import read_parts
from pipeline.study.study_file import StudyDefinition

_NOT_TRAINED_ON = ("build", "parameters", "validation_images", "test_images")  # their data's content counts instead
_FORMAT = 1  # of the shared weights; raise it when their meaning changes


def supernet_key(definition: StudyDefinition) -> str:
    """Twelve hexadecimal digits for the data, space, training settings and seed on which a supernet's weights depend.

    The number of trials, the objectives, the sampler and how variation is measured have no influence.
    """
    identity = definition.identity()
    dataset = {key: value for key, value in identity["dataset"].items() if key not in _NOT_TRAINED_ON}
    training = {key: value for key, value in identity["training"].items() if key != "epochs"}
    parts = {key: identity[key] for key in ("hardware", "network", "devices", "seed")}
    epochs = definition.spec.accuracy.supernet_epochs
    content = parts | {"dataset": dataset, "training": training, "epochs": epochs, "format": _FORMAT}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    if definition.spec.dataset.is_users_own:  # the others never change
        for array in read_parts(definition.spec.dataset)["train"]:
            digest.update(array.tobytes())
    return digest.hexdigest()[:12]
