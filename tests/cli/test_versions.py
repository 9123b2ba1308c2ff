"""`tfpvae versions`: what there is, what can go, and what TensorFlow Serving is told of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tfpvae.cli import main
from tfpvae.errors import ExportError
from tfpvae.manifest import MANIFEST

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture
def model(exported, tmp_path) -> Path:
    """Three versions of `digits`: 1 and 3 whole, 2 of another tool."""
    directory = tmp_path / "models" / "digits"
    for version in (1, 3):
        shutil.copytree(exported.path, directory / str(version))
    (directory / "2").mkdir()
    (directory / "2" / "saved_model.pb").write_bytes(b"1234567")
    return directory


@pytest.fixture
def bare(tmp_path) -> Path:
    """Twelve versions with nothing in them."""
    for version in range(1, 13):
        (tmp_path / "models" / "m" / str(version)).mkdir(parents=True)
        (tmp_path / "models" / "m" / str(version) / "saved_model.pb").write_text(str(version))
    return tmp_path / "models" / "m"


@pytest.fixture(scope="module")
def server_config():
    """`server_config(text)`: a ModelServerConfig as protobuf reads it, from TensorFlow Serving's own field names."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    types = {"string": 9, "int64": 3, "uint32": 13, "message": 11}
    file = descriptor_pb2.FileDescriptorProto(name="model_server_config.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple[str, str, str | None, bool]) -> None:
        made = file.message_type.add(name=name)
        for number, (field, kind, of, repeated) in enumerate(fields, 1):
            label = 3 if repeated else 1
            made.field.add(
                name=field, number=number, type=types[kind], label=label, type_name=f".t.{of}" if of else None
            )

    message("Latest", ("num_versions", "uint32", None, False))
    message("All")
    message("Specific", ("versions", "int64", None, True))
    message(
        "Policy",
        ("latest", "message", "Latest", False),
        ("all", "message", "All", False),
        ("specific", "message", "Specific", False),
    )
    message("Label", ("key", "string", None, False), ("value", "int64", None, False))
    message("Logging", ("prefix", "string", None, False))
    message(
        "Config",
        ("name", "string", None, False),
        ("base_path", "string", None, False),
        ("model_platform", "string", None, False),
        ("model_version_policy", "message", "Policy", False),
        ("version_labels", "message", "Label", True),
        ("logging_config", "message", "Logging", False),
    )
    message("List", ("config", "message", "Config", True))
    message("ServerConfig", ("model_config_list", "message", "List", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.ServerConfig"))

    def read(text: str) -> dict[str, tuple[str, list[int], dict[str, int]]]:
        """By model: base path, versions, labels."""
        return {
            one.name: (
                one.base_path,
                list(one.model_version_policy.specific.versions),
                {label.key: label.value for label in one.version_labels},
            )
            for one in text_format.Parse(text, made()).model_config_list.config
        }

    return read


class Clock:
    """The time that models.config is written at."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def pass_(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    from tfpvae.export.repository import model_config

    clock = Clock()
    monkeypatch.setattr(model_config, "now", lambda: clock.now)
    return clock


def run(*arguments: str | Path) -> int:
    return main(["versions", *map(str, arguments)])


def run_json(capsys, *arguments: str | Path) -> dict:
    capsys.readouterr()
    assert run(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def numbers(directory: Path) -> list[int]:
    return sorted(int(entry.name) for entry in directory.iterdir())


class TestList:
    def test_what_each_version_is(self, model, exported, capsys):
        state = run_json(capsys, model, "--hashes")
        first, other, last = state["versions"]
        assert [one["version"] for one in state["versions"]] == [1, 2, 3]
        manifest = json.loads((exported.path / MANIFEST).read_text())
        assert first["created"] == manifest["created"]
        assert (first["likelihood"], first["prior"]) == (manifest["likelihood"], manifest["prior"])
        assert first["signatures"] == list(manifest["signatures"])
        assert first["onnx"] == sorted(path.stem for path in (exported.path / "onnx").glob("*.onnx"))
        assert first["size"] == sum(path.stat().st_size for path in exported.path.rglob("*") if path.is_file())
        assert first["damage"] == last["damage"] == {}
        assert first["path"] == str(model / "1")
        assert other == {
            **dict.fromkeys(("created", "likelihood", "prior", "damage")),
            "version": 2, "path": str(model / "2"), "size": 7, "signatures": [], "onnx": [],
        }  # fmt: skip
        assert (state["removed"], state["leftovers_removed"], state["config"], state["labels"]) == ([], [], None, {})

    def test_damage_is_found_where_it_is_looked_for(self, model, capsys):
        (model / "3" / "saved_model.pb").write_bytes(b"damage")
        assert [one["damage"] for one in run_json(capsys, model)["versions"]] == [None, None, None]
        damage = run_json(capsys, model, "--hashes")["versions"][2]["damage"]
        assert damage == {"saved_model.pb": "was changed"}
        (model / "1" / MANIFEST).write_text("[]")
        state = run_json(capsys, model, "--hashes")
        assert state["versions"][0]["damage"] == {MANIFEST: "cannot be read"}
        assert state["versions"][0]["created"] is None

    def test_for_people(self, model, capsys):
        (model / "3" / "saved_model.pb").write_bytes(b"damage")
        assert run(model, "--hashes") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == [
            *("version", "created", "MB", "signatures", "ONNX", "likelihood", "prior", "files", "labels"),
        ]
        assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
        assert "IndependentBernoulli" in lines[1]
        assert lines[1].split()[-2:] == ["hold", "-"]
        assert lines[3].split()[-3:] == ["1", "differ", "-"]
        assert "Version 3: saved_model.pb was changed" in lines

    @pytest.mark.parametrize("name", ["missing", "empty"])
    def test_nothing_to_list(self, name, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        assert run(tmp_path / name) == 1
        assert "There is no version in" in capsys.readouterr().err


class TestPrune:
    def test_the_newest_stay_by_number(self, bare, capsys):
        assert run_json(capsys, bare, "--keep", "3")["removed"] == list(range(1, 10))
        assert numbers(bare) == [10, 11, 12]
        assert run_json(capsys, bare, "--keep", "3")["removed"] == []
        assert run(bare, "--keep", "2") == 0
        out = capsys.readouterr().out
        assert "Removed: 10\n" in out
        assert "models.config does not name m." in out

    def test_labelled_versions_stay(self, bare, capsys):
        assert run(bare, "--label", "stable=2") == 0
        state = run_json(capsys, bare, "--keep", "1", "--label", "canary=4")
        assert numbers(bare) == [2, 4, 12]
        assert state["labels"] == {"stable": 2, "canary": 4}

    def test_what_the_server_loads_stays(self, bare, capsys):
        (bare.parent / "models.config").write_text(
            'model_config_list { config { name: "m" model_version_policy { specific { versions: [3, 0x5] } } } }'
        )
        run_json(capsys, bare, "--keep", "2")
        assert numbers(bare) == [3, 5, 11, 12]

    @pytest.mark.parametrize("keep", ["0", "-1"])
    def test_one_stays(self, keep, bare, capsys):
        assert run(bare, "--keep", keep, "--label", "stable=1") == 1
        assert "--keep must be 1 or more" in capsys.readouterr().err
        assert numbers(bare) == list(range(1, 13))
        assert not (bare.parent / "models.config").exists()

    def test_a_function_too(self, bare):
        from tfpvae.export.repository.inventory import prune

        for keep in (0, True, 1.0):
            with pytest.raises(ExportError, match="keep must be an integer"):
                prune(bare, keep)
        assert prune(bare, 2, {1}) == list(range(2, 11))

    def test_a_version_is_gone_by_name_before_its_files_go(self, bare, monkeypatch):
        from tfpvae.export.repository import versions

        seen = []
        monkeypatch.setattr(versions.shutil, "rmtree", lambda path, **options: seen.append((path.name, numbers_of())))

        def numbers_of() -> list[int]:
            return versions.versions(bare)

        versions.remove(bare, 7)
        [(name, left)] = seen
        assert name.startswith(".removed-7-")
        assert left == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
        assert (bare / name / "saved_model.pb").read_text() == "7"

    def test_a_number_with_zeros(self, bare):
        from tfpvae.export.repository import versions

        os.rename(bare / "7", bare / "007")
        assert versions.versions(bare)[6] == 7
        versions.remove(bare, 7)
        assert not (bare / "007").exists()


class TestLabels:
    def test_a_new_file(self, bare, server_config, capsys):
        state = run_json(capsys, bare, "--label", "stable=2", "--label", "canary=11")
        config = bare.parent / "models.config"
        assert state["config"] == str(config)
        assert state["labels"] == {"stable": 2, "canary": 11}
        assert state["loaded"] == [2, 11, 12]
        assert state["labels_pending"] == {}
        assert server_config(config.read_text()) == {"m": (str(bare), [2, 11, 12], {"stable": 2, "canary": 11})}
        assert {entry.name for entry in bare.parent.iterdir()} == {"m", "models.config"}

    def test_the_example_file(self, tmp_path, server_config, bare, capsys):
        """Comments, and the other entry, stay to the byte."""
        config = tmp_path / "models.config"
        shutil.copy(SERVING / "models.config", config)
        before = config.read_text()
        digits = server_config(before)["digits"]
        run_json(capsys, bare, "--config", config, "--label", "stable=2", "--base-path", "/models/m")
        added = config.read_text()
        assert server_config(added) == {"digits": digits, "m": ("/models/m", [2, 12], {"stable": 2})}
        assert added.startswith(before.rstrip("}\n") + "}\n")
        assert added.endswith("  }\n}\n")
        os.rename(bare, bare.with_name("digits"))
        assert run(bare.with_name("digits"), "--config", config, "--label", "stable=3") == 0
        out = capsys.readouterr().out
        assert "loads versions 3, 12 from /models/digits." in out
        assert "--allow_version_labels_for_unavailable_models" in out
        assert "A request that names neither a version nor a label gets the highest that is loaded" in out
        both = config.read_text()
        assert server_config(both) == {
            "digits": ("/models/digits", [3, 12], {"stable": 3}),
            "m": ("/models/m", [2, 12], {"stable": 2}),
        }
        gone = [line.strip() for line in added.splitlines() if line not in both.splitlines()]
        assert gone == ["model_version_policy { latest { num_versions: 1 } }"]

    def test_a_label_moves_once_the_version_is_loaded(self, bare, server_config, capsys, clock):
        """TensorFlow Serving refuses a file that moves a label to a version that it has not loaded, policy and all."""
        config = bare.parent / "models.config"
        run_json(capsys, bare, "--label", "stable=12")
        state = run_json(capsys, bare, "--label", "stable=2")
        assert state["labels_pending"] == {"stable": 2}
        assert server_config(config.read_text())["m"][1:] == ([2, 12], {"stable": 12})
        written = config.read_bytes()
        assert run_json(capsys, bare, "--label", "stable=2")["labels_pending"] == {"stable": 2}  # At once: not loaded.
        assert config.read_bytes() == written
        clock.pass_(seconds=61)
        assert run_json(capsys, bare, "--label", "stable=2")["labels_pending"] == {}
        assert server_config(config.read_text())["m"][1:] == ([2, 12], {"stable": 2})
        assert run(bare, "--label", "stable=5") == 0
        assert "Not moved yet: stable, to 5." in capsys.readouterr().out

    def test_a_label_is_moved_back_at_once(self, bare, server_config, capsys, clock):
        config = bare.parent / "models.config"
        run_json(capsys, bare, "--label", "stable=3")
        run_json(capsys, bare, "--label", "stable=7")
        clock.pass_(seconds=61)
        state = run_json(capsys, bare, "--label", "stable=7")
        assert (state["labels"], state["loaded"]) == ({"stable": 7}, [3, 7, 12])
        assert "# 3 is kept for a roll-back" in config.read_text()
        state = run_json(capsys, bare, "--label", "stable=3", "--keep", "1")
        assert (state["labels"], state["labels_pending"], state["loaded"]) == ({"stable": 3}, {}, [3, 7, 12])
        assert numbers(bare) == [3, 7, 12]

    @pytest.mark.parametrize(
        ("policy", "versions"),
        [("", ()), ("latest { num_versions: 1 }", ()), ("specific { versions: 3 versions: 2 }", (2, 3))],
    )
    def test_every_model_is_read_to_be_served(self, policy, versions, tmp_path):
        from tfpvae.export.repository.model_config import Entry, read_entries

        config = tmp_path / "models.config"
        config.write_text(
            'model_config_list { config { name: "a" base_path: "/a" model_version_policy { ' + policy + " } "
            'version_labels { key: "x" value: 3 } } config { name: "b" } }'
        )
        assert read_entries(config) == {"a": Entry("/a", versions, {"x": 3}), "b": Entry()}

    @pytest.mark.parametrize("policy", ["all {}", "latest { num_versions: 2 }"])
    def test_a_policy_that_is_not_had_here_is_refused(self, policy, tmp_path):
        from tfpvae.export.repository.model_config import read_entries

        config = tmp_path / "models.config"
        with pytest.raises(ExportError, match="There is no"):
            read_entries(config)
        config.write_text(f'model_config_list {{ config {{ name: "a" model_version_policy {{ {policy} }} }} }}')
        with pytest.raises(ExportError, match="must have 'a' served by version numbers or in its highest version"):
            read_entries(config)

    @pytest.mark.parametrize("seed", range(20))
    def test_no_order_of_calls_and_polls_writes_a_file_that_the_server_refuses(
        self, seed, bare, server_config, capsys, clock
    ):
        """TensorFlow Serving refuses a file that moves a label, which it knows, to a version that is not loaded."""
        rng = np.random.default_rng(seed)
        config = bare.parent / "models.config"
        loaded, labels, polled = {12}, {}, clock.now
        for _ in range(40):
            clock.pass_(seconds=int(rng.choice([0, 1, 10, 40])))
            if clock.now - polled >= timedelta(seconds=30) or rng.random() < 0.2:
                if config.exists():
                    _, versions, wanted = server_config(config.read_text())["m"]
                    for label, version in wanted.items():
                        assert version in loaded or label not in labels, (config.read_text(), labels, loaded)
                    loaded, labels = set(versions), wanted
                polled = clock.now
            if rng.random() < 0.1:
                (bare / str(max(numbers(bare)) + 1)).mkdir()
            label = rng.choice(["stable", "canary"])
            run(bare, "--label", f"{label}={rng.choice(numbers(bare))}")
        assert labels

    def test_a_newer_version_is_loaded_when_a_label_is_given_again(self, bare, server_config, capsys):
        config = bare.parent / "models.config"
        run_json(capsys, bare, "--label", "stable=2")
        (bare / "13").mkdir()
        assert run_json(capsys, bare)["loaded"] == [2, 12]
        assert run_json(capsys, bare, "--label", "stable=2")["loaded"] == [2, 13]
        assert server_config(config.read_text())["m"][1:] == ([2, 13], {"stable": 2})

    def test_without_labels_the_highest_is_loaded_again(self, bare, server_config, capsys):
        config = bare.parent / "models.config"
        run_json(capsys, bare, "--label", "stable=2")
        assert run_json(capsys, bare, "--label", "stable=")["loaded"] == []
        assert server_config(config.read_text())["m"][1:] == ([], {})
        assert "latest { num_versions: 1 }" in config.read_text()

    @pytest.mark.parametrize(
        "text",
        [
            'model_config_list: { config: { name: "m", base_path: "/b" } }',
            "model_config_list < config < base_path: '/b'; name: 'm' > >",
            'model_config_list {\n config {\n  name: "m" # a } in a comment\n  base_path: "/" "b"\n }\n}',
            'model_config_list {\n\tconfig {\n\t\tversion_labels { key: "a" value: 12 }\n\t\tname: "m"\n'
            '\t\tmodel_version_policy: { latest: { num_versions: 2 } }\n\t\tversion_labels { key: "b" value: 1 } # b\n'
            '\t\tlogging_config { prefix: "a \\" } model_version_policy {" }\n\t\tbase_path: "/b" }\n}\n',
            'model_config_list { config { name: "x" base_path: "/x" version_labels { key: "s" value: 1 } }\n'
            'config { name: "m"\nbase_path: "/b"\nmodel_version_policy { all {} } version_labels: [] } }',
        ],
        ids=["one line", "angles", "comment", "everything", "two"],
    )  # fmt: skip
    def test_what_protobuf_reads_is_what_was_meant(self, text, bare, server_config, capsys):
        config = bare.parent / "models.config"
        config.write_text(text)
        before = server_config(text)
        run_json(capsys, bare, "--label", "stable=12")
        after = server_config(config.read_text())
        labels = before["m"][2] | {"stable": 12}
        assert after == before | {"m": ("/b", sorted({12, *labels.values()}), labels)}
        for kept in ("logging_config", "# b", "# a } in a comment"):
            assert (kept in text) == (kept in config.read_text())
        once = config.read_text()
        run_json(capsys, bare, "--label", "stable=12")
        assert config.read_text() == once

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model_config_list {", "line 1, is not a ModelServerConfig"),
            ('model_config_list {\n config { name: "m }\n}', "line 2, is not a ModelServerConfig"),
            ("model_config_list { config { name } }", "line 1, is not"),
            ("}", "line 1, is not"),
            ("custom_model_config { }", "must have one model_config_list. Received: 0"),
            (
                'model_config_list { config: [{ name: "m" }, { name: "n" }] }',
                r"must have config { ... }, once for each",
            ),
            ('model_config_list { config { name: "m" } config { name: "m" } }', "must name 'm' once. Received: 2"),
            ('model_config_list { config { name: "m" version_labels { key: "a" } } }', "must have whole numbers"),
            ('model_config_list { config { name: "m" version_labels { key: "a" value: b } } }', "must have whole"),
        ],
    )
    def test_a_file_that_is_none_is_left_alone(self, text, message, bare, capsys):
        config = bare.parent / "models.config"
        config.write_text(text)
        assert run(bare, "--label", "stable=2", "--keep", "1") == 1
        assert message in capsys.readouterr().err
        assert config.read_text() == text
        assert len(numbers(bare)) == 12

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ("stable", "--label must be NAME=N, or NAME= to remove it"),
            ("stable=latest", "--label must be NAME=N"),
            ("stable=13", "m has no version 13 for the label 'stable'. Its versions are: 1, 2,"),
            ("stable=", "There is no label 'stable' to remove. The labels are: none."),
            ("a/b=1", "A label must be of letters, digits and _ . - alone. Received: 'a/b'"),
            ("=1", "A label must be of letters"),
        ],
    )
    def test_a_label_that_cannot_be(self, label, message, bare, capsys):
        assert run(bare, "--label", label) == 1
        assert message in capsys.readouterr().err
        assert not (bare.parent / "models.config").exists()

    def test_a_label_of_a_version_that_is_gone(self, bare, server_config, capsys):
        run_json(capsys, bare, "--label", "stable=2")
        shutil.rmtree(bare / "2")
        assert run(bare, "--label", "canary=3") == 1
        assert "The label 'stable' points at version 2, which does not exist" in capsys.readouterr().err
        state = run_json(capsys, bare, "--label", "canary=3", "--label", "stable=4")
        assert state["labels"] == {"canary": 3, "stable": 4}

    def test_a_link_stays_one_and_the_mode_too(self, bare, tmp_path, capsys):
        real, link = tmp_path / "real.config", tmp_path / "link.config"
        real.write_text("")
        real.chmod(0o640)
        link.symlink_to(real)
        run_json(capsys, bare, "--label", "stable=2", "--config", link)
        assert link.is_symlink()
        assert real.stat().st_mode & 0o777 == 0o640
        assert "stable" in real.read_text()

    def test_a_config_that_is_not_there(self, bare, tmp_path, capsys):
        assert run(bare, "--config", tmp_path / "none.config") == 1
        assert "There is no " in capsys.readouterr().err


class TestLeftovers:
    @pytest.fixture
    def versions(self):
        from tfpvae.export.repository import versions

        return versions

    @pytest.fixture
    def here(self, versions, tmp_path):
        """How the names of building folders begin that an export on this machine makes."""
        with contextlib.suppress(KeyboardInterrupt), versions.publishing(tmp_path / "interrupted") as publication:
            prefix = publication.building.name.rpartition("-")[0]
            raise KeyboardInterrupt
        return prefix

    def leave(self, directory: Path, name: str, age: float) -> str:
        (directory / name).mkdir()
        (directory / name / "saved_model.pb").write_text("half")
        os.utime(directory / name, (time.time() - age,) * 2)
        return name

    def test_which_are_removed(self, bare, here, capsys):
        gone = [
            self.leave(bare, ".removed-3-00000000", 0),
            self.leave(bare, f"{here}-00000000", 61),
            self.leave(bare, ".building-elsewhere-00000000", 86_401),
        ]
        kept = [
            self.leave(bare, f"{here}-11111111", 50),
            self.leave(bare, ".building-elsewhere-11111111", 86_000),
        ]
        self.leave(bare, ".other", 10**6)
        state = run_json(capsys, bare)
        assert sorted(state["leftovers_removed"]) == sorted(gone)
        assert "not yet a minute old" in state["leftovers_kept"].pop(kept[0])
        assert "another machine made it" in state["leftovers_kept"].pop(kept[1])
        assert state["leftovers_kept"] == {}
        assert not any((bare / name).exists() for name in gone)
        assert all((bare / name).exists() for name in [*kept, ".other", "1"])

    def test_never_that_of_an_exporter_that_lives(self, bare, versions, capsys):
        """However old, and whoever asks: the exporter holds its lock until it is done or dead."""
        code = f"""
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("versions", {str(versions.__file__)!r})
versions = sys.modules["versions"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(versions)
with versions.publishing(pathlib.Path({str(bare)!r})) as version:
    print(version.building.name, flush=True)
    sys.stdin.read()
"""
        with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as exporter:
            try:
                building = bare / exporter.stdout.readline().strip()
                os.utime(building, (0, 0))
                assert versions.remove_leftovers(bare) == ([], {building.name: "an export is writing it"})
                assert building.is_dir()
            finally:
                exporter.kill()
        os.utime(building, (time.time() - 61,) * 2)
        assert versions.remove_leftovers(bare) == ([building.name], {})

    def test_without_locks_a_day_passes(self, bare, versions, here, monkeypatch):
        def none(*arguments):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(versions.fcntl, "flock", none)
        name = self.leave(bare, f"{here}-00000000", 3600)
        assert "there are no locks here" in versions.remove_leftovers(bare)[1][name]
        os.utime(bare / name, (time.time() - 86_401,) * 2)
        assert versions.remove_leftovers(bare) == ([name], {})
        with versions.publishing(bare) as publication:  # And an export works all the same.
            (publication.building / "saved_model.pb").write_text("whole")
        assert publication.path.name == "13"
