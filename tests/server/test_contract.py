"""The embedded server against what a real TensorFlow Serving answered: each recorded case, over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

CONTRACT = Path(__file__).parents[1] / "contract"
FILES = ("single_version", "two_versions")


ORDER_DIFFERS = {
    "metadata",
    "encode_row_two_outputs",
    "encode_col_named",
    "row_output_filter_ignored",
    "types_col",
    "types_row",
}
"""Answers with several signatures, inputs or outputs: the real server writes them in the order of a hash table, which
differs from run to run (compare types_col with types_row). The embedded server writes them by name."""

TEXT_DIFFERS = {
    "png_size_plain_string": ("One of JPEG, JPEG XL, PNG,", "One of JPEG, PNG,"),
    # Two operators of this request fail, and which of them TensorFlow meets first is a race of its threads.
    "sample_png_row": (
        r"seed must have shape [2], not [1,2]\n\t [[{{function_node __inference_sample_png_293}}"
        "{{node stateless_random_normal/StatelessRandomGetKeyCounter}}",
        r"Shapes of all inputs must match: values[0].shape = [1] != values[1].shape = []\n\t "
        "[[{{function_node __inference_sample_png_293}}{{node stateless_random_normal/shape}}",
    ),
}
"""Errors worded by TensorFlow, in words that its versions, or its runs, differ in: (other, recorded)."""


def _cases() -> list[Any]:
    cases = []
    for file in FILES:
        path = CONTRACT / f"{file}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        cases += [pytest.param(file, record, id=record["case"]) for record in map(json.loads, lines)]
    return cases


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, httpx.Client]]:
    """A client of a server set up as the recorded one was, for each file of cases."""
    from tfpvae.server import VersionPolicy, running

    models = tmp_path_factory.mktemp("models")
    (models / "demo").symlink_to(CONTRACT / "models" / "multi", target_is_directory=True)
    both = {"demo": VersionPolicy(versions=(1, 2), labels={"stable": 1, "canary": 2})}
    with ExitStack() as stack:
        urls = {
            "single_version": stack.enter_context(running(CONTRACT / "models" / "demo")),
            "two_versions": stack.enter_context(running(models, policies=both)),
        }
        yield {file: stack.enter_context(httpx.Client(base_url=url, timeout=60)) for file, url in urls.items()}


def _send(client: httpx.Client, record: dict[str, Any]) -> httpx.Response:
    headers = {name: value for name, value in record["request_headers"].items() if value is not None}
    body = None if record["request_body"] is None else record["request_body"].encode("latin-1")
    content = iter([body]) if headers.pop("Transfer-Encoding", None) == "chunked" else body
    return client.request(record["method"], record["path"], headers=headers, content=content)


_NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")


def _lines(text: str) -> list[str]:
    """The lines of an answer whose members come in no certain order."""
    return sorted(line.removesuffix(",") for line in text.split("\n"))


@pytest.mark.parametrize(("file", "record"), _cases())
def test_recorded_case(servers: dict[str, httpx.Client], file: str, record: dict[str, Any]) -> None:
    response = _send(servers[file], record)
    received, expected = response.text, record["response_body"]
    assert response.status_code == record["status"], received
    for name, value in record["response_headers"].items():
        assert response.headers[name] == value
    other, recorded = TEXT_DIFFERS.get(record["case"], ("", ""))
    received = received.replace(other, recorded)

    # The layout must be the same to the character; the last digits of a float depend on the CPU.
    layout = _lines if record["case"] in ORDER_DIFFERS else lambda text: text
    assert layout(_NUMBER.sub("#", received)) == layout(_NUMBER.sub("#", expected))
    if response.status_code == 200 and expected:
        _assert_close(json.loads(received), json.loads(expected))


def _assert_close(received: Any, expected: Any) -> None:
    assert type(received) is type(expected)
    if isinstance(expected, dict):
        assert received.keys() == expected.keys()
        for name in expected:
            _assert_close(received[name], expected[name])
    elif isinstance(expected, list):
        assert len(received) == len(expected)
        for one, other in zip(received, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert received == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
    else:
        assert received == expected


def test_known_differences_are_recorded_cases() -> None:
    names = {case.id for case in _cases()}
    assert names >= ORDER_DIFFERS | TEXT_DIFFERS.keys()


def test_numbers_are_written_as_recorded() -> None:
    import numpy as np

    from tfpvae.server.json_writing import format_decimals

    texts = set()
    for case in _cases():
        _, record = case.values
        if record["status"] == 200 and ":predict" in record["path"] and "types" not in record["case"]:
            texts |= set(_NUMBER.findall(record["response_body"]))
    expected = sorted(texts)
    assert len(expected) > 1000
    assert format_decimals(np.array([float(text) for text in expected], np.float32)) == expected


def test_keras_variables_saved_naively_fail_as_in_tensorflow_serving() -> None:
    from tfpvae.server import running

    with running(CONTRACT / "models" / "naive") as url:
        state = httpx.get(f"{url}/v1/models/naive").json()["model_version_status"][0]["state"]
        response = httpx.post(f"{url}/v1/models/naive:predict", content=b'{"inputs": [[0, 0, 0, 0, 0, 0, 0, 0]]}')
    assert state == "AVAILABLE"
    assert response.status_code == 400
    assert "Could not find variable" in response.json()["error"]
