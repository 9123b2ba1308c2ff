"""Version directories: numbered, whole, and never overwritten."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfpvae.errors import ExportError, TfpvaeError


@pytest.fixture
def versions_module():
    """`tfpvae.export.repository.versions`; its package loads TensorFlow."""
    from tfpvae.export.repository import versions

    return versions


def publish(module, directory: Path, version: int | None = None, text: str = "") -> None:
    with module.publishing(directory, version) as version:
        (version.building / "saved_model.pb").write_text(text)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_the_first_version_is_one_and_the_next_the_highest_plus_one(versions_module, tmp_path):
    model = tmp_path / "models" / "m"
    assert versions_module.versions(model) == []
    publish(versions_module, model)
    assert names(model) == ["1"]
    publish(versions_module, model)
    publish(versions_module, model, 7)
    publish(versions_module, model)
    assert versions_module.versions(model) == [1, 2, 7, 8]
    publish(versions_module, model, 3)  # A gap may be filled when asked for, and is not of itself.
    publish(versions_module, model)
    assert versions_module.versions(model) == [1, 2, 3, 7, 8, 9]
    publish(versions_module, model, 10)
    assert versions_module.versions(model)[-1] == 10  # By number, not by letter.


def test_what_is_no_number_is_no_version(versions_module, tmp_path):
    for name in (".building-00000000", "best", "1.5", "-3", "²", "4a"):
        (tmp_path / name).mkdir()
    assert versions_module.versions(tmp_path) == []
    publish(versions_module, tmp_path)
    assert versions_module.versions(tmp_path) == [1]


def test_an_existing_version_is_never_overwritten(versions_module, tmp_path):
    publish(versions_module, tmp_path, 3, "first")
    with pytest.raises(ExportError, match=r"3 exists, and versions are never overwritten\. The next free number is 4"):
        publish(versions_module, tmp_path, 3, "second")
    assert names(tmp_path) == ["3"]
    assert (tmp_path / "3" / "saved_model.pb").read_text() == "first"


def test_a_version_made_meanwhile_is_not_overwritten(versions_module, tmp_path):
    def late():
        with versions_module.publishing(tmp_path, 3) as version:
            (version.building / "saved_model.pb").write_text("late")
            publish(versions_module, tmp_path, 3, "early")

    with pytest.raises(ExportError, match="3 was made by another export meanwhile"):
        late()
    assert names(tmp_path) == ["3"]
    assert (tmp_path / "3" / "saved_model.pb").read_text() == "early"


def test_a_number_taken_meanwhile_is_passed_by(versions_module, tmp_path):
    with versions_module.publishing(tmp_path) as version:
        (version.building / "saved_model.pb").write_text("late")
        publish(versions_module, tmp_path, None, "early")
    assert names(tmp_path) == ["1", "2"]
    assert (tmp_path / "2" / "saved_model.pb").read_text() == "late"


def test_nothing_with_a_number_is_to_be_seen_before_the_end(versions_module, tmp_path):
    with versions_module.publishing(tmp_path, 5) as version:
        assert version.building.parent == tmp_path
        assert not version.building.name.isdigit()
        assert versions_module.versions(tmp_path) == []
        (version.building / "saved_model.pb").write_text("whole")
    assert names(tmp_path) == ["5"]
    assert not version.building.exists()


@pytest.mark.parametrize("error", [ExportError("x"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_an_error_leaves_nothing(error, versions_module, tmp_path):
    def fail():
        with versions_module.publishing(tmp_path) as version:
            (version.building / "variables").mkdir()
            (version.building / "variables" / "data").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("fixed", [False, True], ids=["next free numbers", "one number"])
def test_exporters_that_race(fixed, versions_module, tmp_path):
    """Eight at once: every version whole and from one exporter, none lost."""
    n = 8
    barrier, failures = threading.Barrier(n), []

    def export(i: int) -> None:
        try:
            with versions_module.publishing(tmp_path, 1 if fixed else None) as version:
                for name in "abc":
                    (version.building / name).write_text(str(i))
                barrier.wait(timeout=30)
        except ExportError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=export, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    whole = [{(tmp_path / version / name).read_text() for name in "abc"} for version in names(tmp_path)]
    assert all(len(one) == 1 for one in whole)
    if fixed:
        assert names(tmp_path) == ["1"]
        assert len(failures) == n - 1
        assert all("was made by another export meanwhile" in failure for failure in failures)
    else:
        assert versions_module.versions(tmp_path) == list(range(1, n + 1))
        assert failures == []
        assert set.union(*whole) == {str(i) for i in range(n)}


def test_an_exporter_that_is_killed_leaves_no_version(versions_module, tmp_path):
    # The module alone, by its path: it needs no TensorFlow.
    code = f"""
import importlib.util, os, pathlib, signal, sys
spec = importlib.util.spec_from_file_location("versions", {str(versions_module.__file__)!r})
versions = sys.modules["versions"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(versions)
with versions.publishing(pathlib.Path({str(tmp_path)!r})) as version:
    (version.building / "saved_model.pb").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    assert versions_module.versions(tmp_path) == []
    left = names(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".building-")
    publish(versions_module, tmp_path, None, "whole")  # And is in nobody's way.
    assert versions_module.versions(tmp_path) == [1]


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True])
def test_a_version_is_a_positive_integer(version, versions_module, tmp_path):
    with pytest.raises(ExportError, match=r"version must be an integer of at least 1\. Received: version="):
        publish(versions_module, tmp_path / "m", version)
    assert not (tmp_path / "m").exists()


def test_a_file_where_the_directory_should_be(versions_module, tmp_path):
    (tmp_path / "m").write_text("")
    with pytest.raises(ExportError, match="cannot be written") as raised:
        publish(versions_module, tmp_path / "m")
    assert isinstance(raised.value.__cause__, OSError)
    assert isinstance(raised.value, TfpvaeError)


def test_a_failed_export_leaves_no_directory_of_its_own(versions_module, tmp_path):
    with pytest.raises(KeyError), versions_module.publishing(tmp_path / "new"):
        raise KeyError("failed")
    assert names(tmp_path) == []
