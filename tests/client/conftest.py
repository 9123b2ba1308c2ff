"""Answers of a real TensorFlow Serving, recorded in tests/contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

CONTRACT = Path(__file__).parents[1] / "contract"

Contract = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The recorded exchanges, by the name of the case."""
    files = [CONTRACT / f"{name}.jsonl" for name in ("single_version", "two_versions", "batching")]
    cases = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {case["case"]: case for case in cases}


class Replay(httpx.BaseTransport):
    """Answers each request, by method and path, with what was recorded; keeps the requests."""

    def __init__(self, *cases: dict[str, Any]) -> None:
        self.answers = {(case["method"], case["path"]): case for case in cases}
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        case = self.answers[request.method, request.url.path]
        return httpx.Response(case["status"], headers=case["response_headers"], content=case["response_body"].encode())


@pytest.fixture(scope="session")
def replay() -> type[Replay]:
    return Replay
