"""Data sets: what is on disk is what networks see, and nothing else is loaded."""

import gzip
import os
import pickle

import numpy as np
import optuna
import pytest
import torch
from conftest import TINY_STUDY
from data_sets import cifar10_files, idx_files, md5, write_set
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.cli.app import app
from pipeline.data.batches import ShuffledBatches, load_images, moved
from pipeline.data.data_set import DataError, DataSet
from pipeline.data.sets import DATA_SETS
from pipeline.data.spec import DatasetSpec, check_data, image_of, read_parts
from pipeline.design.design_point import ImageSpec
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study, study_schema
from pipeline.trial.evaluate import evaluate


def folder_spec(folder, **more):
    return DatasetSpec(name="image_folder", data_dir=str(folder), image_size=8, **more)


def write_pictures(folder, classes=("cat", "dog"), each=20):
    """Pictures of one colour a class: class i is filled with 100 + i."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            mode, suffix = ("RGB", "png") if i % 2 else ("L", "jpg")
            value = 100 + label
            colour = (value,) * 3 if mode == "RGB" else value
            Image.new(mode, (9 + i, 16), colour).save(folder / name / f"{i}.{suffix}")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_idx_files_are_read_as_they_are_published(tmp_path, monkeypatch, packed):
    files = idx_files()
    write_set("mnist", files, tmp_path / "MNIST/raw", monkeypatch)
    if packed:
        for name, content in files.items():
            (tmp_path / "MNIST/raw" / name).unlink()
            (tmp_path / "MNIST/raw" / f"{name}.gz").write_bytes(gzip.compress(content))
    images, labels = read_parts(DatasetSpec(name="mnist", data_dir=str(tmp_path)))["train"]
    assert images.tobytes() == files["train-images-idx3-ubyte"][16:]
    assert images.shape == (12, 1, 28, 28)
    assert labels.tobytes() == files["train-labels-idx1-ubyte"][8:]


def test_cifar10_batches_are_read_as_they_are_published(tmp_path, monkeypatch):
    files = cifar10_files(images=4)
    write_set("cifar10", files, tmp_path / "cifar-10-batches-py", monkeypatch)
    parts = read_parts(DatasetSpec(name="cifar10", data_dir=str(tmp_path)))
    images, labels = parts["train"]
    assert images.shape == (20, 3, 32, 32)
    assert parts["test"][0].shape == (4, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2, 3] * 5
    assert images[:4].tobytes() in files["data_batch_1"]  # red plane, then green, then blue, row by row


def test_a_batch_with_a_wrong_checksum_is_not_unpickled(tmp_path, monkeypatch):
    """A pickle is a program; this one would leave a mark."""
    mark = tmp_path / "ran"
    write_set("cifar10", cifar10_files(), tmp_path / "cifar-10-batches-py", monkeypatch)
    program = b"cos\nmkdir\n(U" + bytes([len(str(mark))]) + str(mark).encode() + b"tR."
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(program)
    with pytest.raises(DataError, match=r"data_batch_3: checksum .*nacim data get cifar10"):
        check_data(DatasetSpec(name="cifar10", data_dir=str(tmp_path)))
    monkeypatch.setitem(DATA_SETS["cifar10"].checksums, "data_batch_3", md5(program))
    with pytest.raises(pickle.UnpicklingError, match=r"must not load os\.mkdir"):
        check_data(DatasetSpec(name="cifar10", data_dir=str(tmp_path)))
    assert not mark.exists()


def test_networks_see_pixels_in_zero_to_one_and_each_image_in_one_split(tmp_path, monkeypatch):
    files = cifar10_files(images=20)
    write_set("cifar10", files, tmp_path / "cifar-10-batches-py", monkeypatch)
    spec = DatasetSpec(name="cifar10", data_dir=str(tmp_path), train_images=30)
    splits = load_images(spec)
    assert splits.train[0].shape == (30, 3, 32, 32)
    assert splits.validation[0].shape == (10, 3, 32, 32)
    every = torch.cat([x for x, _ in (splits.train, splits.validation, splits.test)])
    assert len(every.unique(dim=0)) == len(every)
    official = read_parts(spec)["test"][0]
    assert torch.equal((splits.test[0] * 255).round().to(torch.uint8), torch.from_numpy(official))


def test_a_folder_of_class_folders_is_a_data_set(tmp_path):
    write_pictures(tmp_path)
    spec = folder_spec(tmp_path)
    assert image_of(spec).classes == 2
    splits = load_images(spec)
    for images, labels in (splits.train, splits.validation, splits.test):
        assert images.shape[1:] == (3, 8, 8)
        assert (images.mean((1, 2, 3)) * 255).round().long().tolist() == (100 + labels).tolist()
    assert sum(len(split[1]) for split in (splits.train, splits.validation, splits.test)) == 40
    assert read_parts(folder_spec(tmp_path, channels=1))["train"][0].shape[1:] == (1, 8, 8)


def test_more_pictures_move_none_to_another_split(tmp_path):
    write_pictures(tmp_path)
    before = {name: len(y) for name, (_, y) in read_parts(folder_spec(tmp_path)).items()}
    write_pictures(tmp_path, classes=("elk",), each=30)
    after = {name: (np.array(y) < 2).sum() for name, (_, y) in read_parts(folder_spec(tmp_path)).items()}
    assert after == before


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_pictures_of_16_bits_are_those_of_8_bits(tmp_path, channels):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for folder in ("deep", "plain"):
            (tmp_path / folder / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep" / name / f"{i}.png")
            Image.fromarray(pixels).save(tmp_path / "plain" / name / f"{i}.png")
    deep, plain = (read_parts(folder_spec(tmp_path / name, channels=channels)) for name in ("deep", "plain"))
    assert {name: images.tolist() for name, (images, _) in deep.items()} == {
        name: images.tolist() for name, (images, _) in plain.items()
    }


def test_a_picture_starts_no_other_program(tmp_path, monkeypatch):
    """Pillow goes by a file's content, and has Ghostscript draw PostScript."""
    write_pictures(tmp_path)
    Image.new("RGB", (9, 16)).save(tmp_path / "dog" / "3.eps")
    (tmp_path / "dog" / "3.eps").rename(tmp_path / "dog" / "3.png")
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: started.append("gs"))
    with pytest.raises(DataError, match=r"3\.png: not a readable picture"):
        check_data(folder_spec(tmp_path))
    assert not started


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "dog" / "3.png").write_bytes(b"no picture"), r"3\.png: not a readable picture"),
        (lambda folder: (folder / "empty").mkdir(), "empty: holds no picture"),
        (
            lambda folder: ((folder / "cat").rename(folder / "train"), (folder / "dog").rename(folder / "test")),
            "test and train are names of splits, not of classes.*nacim splits them itself",
        ),
        (lambda folder: [path.rename(folder / path.name) for path in (folder / "dog").iterdir()], "dog: holds no"),
    ],
    ids=["damaged picture", "empty class", "folders of splits", "pictures outside"],
)
def test_a_folder_that_is_no_data_set_is_refused_with_the_reason(tmp_path, spoil, message):
    write_pictures(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        check_data(folder_spec(tmp_path))


def test_image_folders_say_their_size_and_others_do_not():
    with pytest.raises(ValueError, match="image_size is missing"):
        DatasetSpec(name="image_folder")
    with pytest.raises(ValueError, match="remove it from mnist"):
        DatasetSpec(name="mnist", image_size=8)


def test_augmented_images_are_the_images_shifted_and_mirrored():
    images = torch.arange(1.0, 1 + 40 * 2 * 16 * 8).reshape(40, 2, 16, 8)
    out = moved(images, flip=True, generator=torch.Generator().manual_seed(0))
    found = set()
    for image, result in zip(images, out, strict=True):
        for flip in (False, True):
            mirrored = image.flip(-1) if flip else image
            padded = torch.nn.functional.pad(mirrored, (1, 1, 2, 2))
            for down in range(5):
                for right in range(3):
                    if torch.equal(padded[:, down : down + 16, right : right + 8], result):
                        found.add((flip, down, right))
    assert len(found) > 15  # of 30; 40 images are drawn
    assert {flip for flip, _, _ in found} == {False, True}


def test_batches_are_a_function_of_seed_and_pass():
    split = (torch.arange(100.0).reshape(100, 1, 1, 1).expand(100, 1, 8, 8), torch.arange(100))
    first = ShuffledBatches(split, 32, seed=5, augment="crop_and_flip")
    passes = [[(x.clone(), y) for x, y in first] for _ in range(2)]
    again = list(ShuffledBatches(split, 32, seed=5, augment="crop_and_flip", epoch=1))
    assert len(again) == 3
    for (x, y), (x2, y2) in zip(passes[1], again, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    assert not torch.equal(passes[0][0][1], passes[1][0][1])


@pytest.mark.skipif("NACIM_DATA_DIR" not in os.environ, reason="NACIM_DATA_DIR names no folder of real data sets")
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("mnist", 60_000, 10_000), ("fashion_mnist", 60_000, 10_000), ("cifar10", 50_000, 10_000)],
)
def test_the_real_files_are_read(name, train, test):
    spec = DatasetSpec(name=name, data_dir=os.environ["NACIM_DATA_DIR"])
    parts = read_parts(spec)
    size = image_of(spec)
    assert parts["train"][0].shape == (train, size.channels, size.height, size.width)
    assert np.bincount(parts["test"][1]).sum() == test
    assert set(np.unique(parts["train"][1])) == set(range(size.classes))


def test_digits_are_those_of_scikit_learn():
    bunch = load_digits()
    images, labels = read_parts(DatasetSpec())["all"]
    np.testing.assert_array_equal(images[:, 0], bunch.images / 16)
    np.testing.assert_array_equal(labels, bunch.target)


def test_a_data_set_is_one_entry(monkeypatch, write_study, tmp_path, capsys):
    """The entry alone makes a study file with it valid, a trial run and `nacim data list` name it."""
    chance = np.random.default_rng(0)

    def read(folder, image):
        labels = np.arange(200) % 2
        pixels = chance.integers(0, 99, (200, 1, image.height, image.width)) + 100 * labels[:, None, None, None]
        return {"all": (pixels.astype(np.uint8), labels)}

    def toy_image(data_dir, side, channels):
        return ImageSpec(channels=1, height=side, width=side, classes=2)

    (tmp_path / "toy").mkdir()
    toy = DataSet(
        about="dark and bright", image=toy_image, read=read,
        folder="toy", options=("image_size",), sides=(4, 6), needs_side=True,
    )  # fmt: skip
    monkeypatch.setitem(DATA_SETS, "toy", toy)
    assert "toy" in study_schema()["$defs"]["DatasetSpec"]["properties"]["name"]["enum"]
    content = TINY_STUDY | {"dataset": {"name": "toy", "image_size": 6, "data_dir": str(tmp_path)}}
    path = write_study(content | {"network": {"convs": [{"filters": 4}]}})
    app(["data", "list"], standalone_mode=False)
    assert "dark and bright" in capsys.readouterr().out
    definition = load_study(path)
    space = SearchSpace(definition)
    space.check()
    check_data(definition.spec.dataset)
    result = evaluate(space.suggest(optuna.create_study().ask()), definition.spec, 0)
    assert result.validation.n_images == 40  # a fifth of all
    for options, why in (
        ({"image_size": 5}, "must be 4 or 6"),
        ({"image_size": 6, "channels": 3}, "channels belongs to image_folder, remove it from toy"),
        ({}, "image_size is missing"),
    ):
        with pytest.raises(ValueError, match=why):
            DatasetSpec(name="toy", **options)
