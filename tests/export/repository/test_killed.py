"""An export that is killed at any moment leaves a whole version or none.

Simulated at each step of publishing; and for real, ten times at random.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

FILES = {"saved_model.pb": "graph", "variables/data": "weights", "manifest.json": "{}"}


class CrashError(BaseException):
    """In place of a kill: nothing catches it, and nothing cleans up after it."""


@pytest.fixture
def module():
    from tfpvae.export.repository import versions

    return versions


@pytest.fixture
def crash(monkeypatch, module) -> Callable[[str, int, bool], None]:
    """`crash("rename", 0, after=False)`: the call of `os.rename` is the end, before or after its effect."""

    def arm(name: str, calls: int, after: bool) -> None:
        real, left = getattr(os, name), [calls]

        def crashing(*arguments, **options):
            left[0] -= 1
            if left[0] == -1 and not after:
                raise CrashError
            result = real(*arguments, **options)
            if left[0] == -1:
                raise CrashError
            return result

        monkeypatch.setattr(os, name, crashing)
        monkeypatch.setattr(module.shutil, "rmtree", lambda *arguments, **options: None)

    yield arm
    monkeypatch.undo()


def write(building: Path) -> None:
    for name, text in FILES.items():
        (building / name).parent.mkdir(exist_ok=True)
        (building / name).write_text(text)


def publish(module, directory: Path) -> Path:
    with module.publishing(directory) as publication:
        write(publication.building)
    return publication.path


def contents(version: Path) -> dict[str, str]:
    return {path.relative_to(version).as_posix(): path.read_text() for path in version.rglob("*") if path.is_file()}


def make_older(directory: Path, seconds: float) -> None:
    for entry in directory.iterdir():
        os.utime(entry, (time.time() - seconds,) * 2)


# What publishing calls, in its order: each file and each folder flushed, the rename, the parent flushed.
STEPS = [
    *(("fsync", calls, after) for calls in range(len(FILES) + 2) for after in (False, True)),
    ("rename", 0, False),
    ("rename", 0, True),
    ("fsync", len(FILES) + 2, False),
    ("fsync", len(FILES) + 2, True),
]


@pytest.mark.parametrize(
    ("name", "calls", "after"),
    [pytest.param(*step, id=f"{'after' if step[2] else 'before'} {step[0]} {step[1]}") for step in STEPS],
)
def test_a_crash_at_each_step_of_publishing(name, calls, after, crash, module, monkeypatch, tmp_path):
    assert publish(module, tmp_path).name == "1"
    crash(name, calls, after)
    with pytest.raises(CrashError):
        publish(module, tmp_path)
    monkeypatch.undo()
    published = (name, after) == ("rename", True) or (name, calls) == ("fsync", len(FILES) + 2)
    assert module.versions(tmp_path) == ([1, 2] if published else [1])
    for path in module.version_directories(tmp_path).values():
        assert contents(path) == FILES
    leftovers = [entry.name for entry in tmp_path.iterdir() if not entry.name.isdecimal()]
    assert len(leftovers) == (0 if published else 1)
    make_older(tmp_path, 61)
    assert module.remove_leftovers(tmp_path) == (leftovers, {})
    assert publish(module, tmp_path).name == ("3" if published else "2")
    assert all(entry.name.isdecimal() for entry in tmp_path.iterdir())


def test_publishing_has_no_other_step(module, monkeypatch, tmp_path):
    """What the steps above are taken from: all is on the disk before the rename, and the name after it."""
    calls = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *arguments, name=name, real=real: (calls.append(name), real(*arguments))[1]
        )
    publish(module, tmp_path)
    assert calls == ["fsync"] * (len(FILES) + 2) + ["rename", "fsync"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_a_version_is_removed(after, crash, module, monkeypatch, tmp_path):
    publish(module, tmp_path)
    publish(module, tmp_path)
    crash("rename", 0, after)
    with pytest.raises(CrashError):
        module.remove(tmp_path, 1)
    monkeypatch.undo()
    assert module.versions(tmp_path) == ([2] if after else [1, 2])
    for path in module.version_directories(tmp_path).values():
        assert contents(path) == FILES
    gone, kept = module.remove_leftovers(tmp_path)
    assert len(gone) == after
    assert kept == {}
    assert all(entry.name.isdecimal() for entry in tmp_path.iterdir())


EXPORTER = """
import sys
import keras
import numpy as np
import tfpvae
from tfpvae import layers
from tfpvae.export import exporter
from tfpvae.export.repository import versions

every, flush = exporter.endpoints, versions.flush_tree

def some(model):
    present, absent = every(model)
    return {name: present[name] for name in ("decode", "sample_mean")}, absent

def announced(folder):
    print("publishing", flush=True)
    flush(folder)

exporter.endpoints, versions.flush_tree = some, announced
keras.utils.set_random_seed(0)
vae = tfpvae.VAE(
    keras.Sequential([keras.Input([4]), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)]),
    keras.Sequential([keras.Input([2]), keras.layers.Dense(4), layers.IndependentBernoulli([4])]),
)
vae(np.zeros([1, 4], np.float32))
for turn in range(2):
    print("exporting", flush=True)
    print("published", tfpvae.export_model(vae, sys.argv[1]).path.name, flush=True)
"""
"""Exports twice. In the second export it is killed."""


class Export(NamedTuple):
    """An export that was let through: its version, and when it was at what, in seconds from its start."""

    version: int
    publishing: float
    published: float


class Exporter:
    """A process that exports."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", EXPORTER, str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def wait_for(self, word: str) -> list[str]:
        for line in self.process.stdout:
            if line.split()[:1] == [word]:
                return line.split()
        raise AssertionError(f"ended without {word!r}: {self.process.wait()}")

    def whole(self) -> Export:
        self.wait_for("exporting")
        start = time.monotonic()
        self.wait_for("publishing")
        publishing = time.monotonic() - start
        version = int(self.wait_for("published")[1])
        return Export(version, publishing, time.monotonic() - start)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_ten_times_at_random(module, tmp_path):
    from tfpvae.export.verification import verify

    rng = np.random.default_rng(20)
    verified: set[int] = set()
    unpublished = 0
    duration = None
    for turn in range(10):
        exporter = Exporter(tmp_path)
        try:
            before = module.versions(tmp_path)
            export = exporter.whole()
            # After whatever the last kill left: the next free number.
            assert export.version == max(before, default=0) + 1
            duration = duration or export
            exporter.wait_for("exporting")
            if turn % 2:
                time.sleep(rng.uniform(0, duration.published))
            else:  # In the moments around the rename.
                exporter.wait_for("publishing")
                time.sleep(rng.uniform(0, 1.5 * (duration.published - duration.publishing)))
        finally:
            exporter.kill()
        assert set(module.versions(tmp_path)) - {*before, export.version} <= {export.version + 1}
        unpublished += max(module.versions(tmp_path)) == export.version
        for version in set(module.versions(tmp_path)) - verified:
            found = verify(tmp_path / str(version))
            assert not found.refused, found.errors
            assert found.parity
            verified.add(version)
    assert unpublished, "no kill came in time"
    left = [entry.name for entry in tmp_path.iterdir() if not entry.name.isdecimal()]
    assert 0 < len(left) <= unpublished
    make_older(tmp_path, 61)
    gone, kept = module.remove_leftovers(tmp_path)
    assert sorted(gone) == sorted(left)
    assert kept == {}
