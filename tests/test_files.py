"""Files are written whole or not at all, also by several processes at once."""

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.files import write_whole


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


def test_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(functools.partial(write_whole, path), [letter * 1000 for letter in "abcdefgh" * 5]))
    assert len(set(path.read_text())) == 1
    assert path.stat().st_size == 1000
    assert list(tmp_path.iterdir()) == [path]
