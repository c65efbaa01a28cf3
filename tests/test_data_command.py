"""`nacim data`: files come whole or not at all, from a server that cuts and is_noisy."""

import dataclasses
import gzip
import io
import tarfile

import pytest
from data_sets import cifar10_archive, cifar10_files, idx_files, md5, serve, trust
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.data.data_set import DataError
from pipeline.data.sets import DATA_SETS
from pipeline.data.spec import DatasetSpec, check_data, read_parts

CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"


def nacim(*arguments):
    """Run the command; failures come back as exceptions."""
    return CliRunner().invoke(app, [str(part) for part in arguments], catch_exceptions=False)


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def fashion(server, monkeypatch):
    """A server of a small Fashion-MNIST."""
    files = idx_files()
    trust("fashion_mnist", files, monkeypatch)
    server.files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    return server


@pytest.fixture
def cifar10(server, monkeypatch):
    """A server of a small CIFAR-10."""
    files = cifar10_files()
    archive = cifar10_archive(files)
    trust("cifar10", files, monkeypatch)
    official = DATA_SETS["cifar10"]
    source = dataclasses.replace(official.source, archive_md5=md5(archive))
    monkeypatch.setitem(DATA_SETS, "cifar10", dataclasses.replace(official, source=source))
    server.files = {CIFAR10_ARCHIVE: archive}
    return server


def test_what_was_fetched_is_what_studies_read(fashion, cifar10, tmp_path, monkeypatch):
    fashion.files |= cifar10.files | {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}
    for name in ("fashion_mnist", "cifar10"):
        shown = nacim("data", "get", name, "--to", tmp_path, "--mirror", fashion.url).output
        assert f"--data-dir {tmp_path}" in shown
        check_data(DatasetSpec(name=name, data_dir=str(tmp_path)))
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / CIFAR10_ARCHIVE).exists()
    listed = nacim("data", "list", "--data-dir", tmp_path).output
    assert all(name in listed for name in ("digits", "mnist", "image_folder"))


def test_a_transfer_that_was_cut_goes_on_where_it_stopped(cifar10, tmp_path):
    whole = len(cifar10.files[CIFAR10_ARCHIVE])
    cifar10.cut_after = whole // 3
    with pytest.raises(DataError, match=f"cut after {whole // 3} of {whole} bytes; run the same command"):
        nacim("data", "get", "cifar10", "--to", tmp_path, "--mirror", cifar10.url)
    cifar10.cut_after = None
    nacim("data", "get", "cifar10", "--to", tmp_path, "--mirror", cifar10.url)
    assert cifar10.asked == ["", f"bytes={whole // 3}-"]
    assert read_parts(DatasetSpec(name="cifar10", data_dir=str(tmp_path)))["test"][0].shape == (4, 3, 32, 32)


def test_a_transfer_killed_at_its_last_byte_is_finished(cifar10, tmp_path):
    (tmp_path / f"{CIFAR10_ARCHIVE}.part").write_bytes(cifar10.files[CIFAR10_ARCHIVE])
    nacim("data", "get", "cifar10", "--to", tmp_path, "--mirror", cifar10.url)
    check_data(DatasetSpec(name="cifar10", data_dir=str(tmp_path)))


def test_a_file_with_a_wrong_checksum_is_refused_and_not_kept(cifar10, tmp_path):
    cifar10.files[CIFAR10_ARCHIVE] = cifar10_archive(cifar10_files(images=3))
    with pytest.raises(DataError, match="checksum"):
        nacim("data", "get", "cifar10", "--to", tmp_path, "--mirror", cifar10.url)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_idx_file_is_refused_and_the_good_ones_are_not_fetched_again(fashion, tmp_path):
    good = fashion.files["t10k-labels-idx1-ubyte.gz"]
    fashion.files["t10k-labels-idx1-ubyte.gz"] = good[:-9]
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: cannot be unpacked"):
        nacim("data", "get", "fashion_mnist", "--to", tmp_path, "--mirror", fashion.url)
    assert not (tmp_path / DATA_SETS["fashion_mnist"].folder / "t10k-labels-idx1-ubyte.gz").exists()
    fashion.files["t10k-labels-idx1-ubyte.gz"] = good
    fashion.asked.clear()
    nacim("data", "get", "fashion_mnist", "--to", tmp_path, "--mirror", fashion.url)
    assert len(fashion.asked) == 1


def test_without_a_network_the_way_out_is_named(tmp_path):
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/.*or put the file into"):
        nacim("data", "get", "mnist", "--to", tmp_path, "--mirror", "http://127.0.0.1:9")


def test_a_server_without_the_file_is_named_with_its_answer(server, tmp_path):
    with pytest.raises(DataError, match="answers 404"):
        nacim("data", "get", "mnist", "--to", tmp_path, "--mirror", server.url)


def test_what_cannot_be_fetched_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match=r"'digits' cannot be fetched: .*nothing to fetch; choose from mnist"):
        nacim("data", "get", "digits", "--to", tmp_path)


@pytest.mark.parametrize("evil", ["../evil", "{outside}/evil", "cifar-10-batches-py/../../evil"])
def test_an_archive_writes_nothing_outside_the_folder(evil, cifar10, tmp_path, monkeypatch):
    """Even one with the right checksum: only the official files are taken, each by its own name."""
    files = cifar10_files()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in (evil.format(outside=tmp_path / "outside"), *(f"cifar-10-batches-py/{each}" for each in files)):
            data = files.get(name.rpartition("/")[2], b"evil")
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    official = DATA_SETS["cifar10"]
    source = dataclasses.replace(official.source, archive_md5=md5(content.getvalue()))
    monkeypatch.setitem(DATA_SETS, "cifar10", dataclasses.replace(official, source=source))
    cifar10.files = {CIFAR10_ARCHIVE: content.getvalue()}
    folder = tmp_path / "in" / "data"
    assert nacim("data", "get", "cifar10", "--to", folder, "--mirror", cifar10.url).exit_code == 0
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {*files}
    assert all(path.parent.name == "cifar-10-batches-py" for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_is_not_followed(kind, cifar10, tmp_path, monkeypatch):
    files = cifar10_files()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in files:
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    official = DATA_SETS["cifar10"]
    source = dataclasses.replace(official.source, archive_md5=md5(content.getvalue()))
    monkeypatch.setitem(DATA_SETS, "cifar10", dataclasses.replace(official, source=source))
    cifar10.files = {CIFAR10_ARCHIVE: content.getvalue()}
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz: .*batch"):
        nacim("data", "get", "cifar10", "--to", tmp_path, "--mirror", cifar10.url)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != CIFAR10_ARCHIVE]
