"""Files are written whole or not at all, also by several processes at once."""

import functools
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline import files
from pipeline.files import remove_unfinished, write_whole


@pytest.mark.parametrize(
    "content",
    ["täxt", "täxt".encode(), lambda path: path.write_text("täxt", encoding="utf-8")],
    ids=["text", "bytes", "writer"],
)
@pytest.mark.parametrize("durable", [False, True])
def test_text_bytes_and_writers_give_the_same_file(tmp_path, content, durable):
    write_whole(tmp_path / "new" / "file.txt", content, durable)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]
    assert (tmp_path / "new" / "file.txt").read_text(encoding="utf-8") == "täxt"


def test_a_write_that_breaks_leaves_the_file_as_it_was_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def half(unfinished):
        unfinished.write_text("aft")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, half)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_unfinished_is_removed_and_nothing_of_others(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [f"file.txt.{files._HOST}-1-1.part", f"file.txt.0badcafe-{gone.pid}-1.part", "my-1.part"]
    for name in (*kept, f"file.txt.{files._HOST}-{gone.pid}-1.part", f"other.{files._HOST}-{gone.pid}-1.part"):
        (tmp_path / name).touch()
    write_whole(tmp_path / "file.txt", "new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"file.txt", *kept, f"other.{files._HOST}-{gone.pid}-1.part"}, "that of process 1 may still grow"
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", *kept}


def test_a_full_disk_names_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path}/file.txt'"):
            write_whole(tmp_path / "file.txt", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(functools.partial(write_whole, path), [letter * 1000 for letter in "abcdefgh" * 5]))
    assert len(set(path.read_text())) == 1
    assert path.stat().st_size == 1000
    assert list(tmp_path.iterdir()) == [path]
