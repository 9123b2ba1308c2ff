"""TensorFlow Serving's REST routes: the answer to a request, without HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from tfpvae.server import json_answers, json_codec, json_text, json_writing
from tfpvae.server.examples import check_examples, check_signature
from tfpvae.server.metadata import write_message, write_metadata
from tfpvae.server.repository import Repository, VersionState
from tfpvae.server.status import HTTP_STATUS, Code, StatusError, invalid
from tfpvae.signatures import DEFAULT_SIGNATURE

_FLAGS: Final = re.ASCII | re.IGNORECASE
_SERVED: Final = re.compile(r"/v1/.*", _FLAGS)
_CALL: Final = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r":(?P<verb>classify|regress|predict)",
    _FLAGS,
)
_STATUS: Final = re.compile(
    r"/v1/models(?:/(?P<model>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?:/(?P<metadata>metadata))?",
    _FLAGS,
)
_NOT_FOUND: Final = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: the HTTP status.
        headers: the headers, without those that every answer has (`date`, `content-length`).
        body: the body.
    """

    status: int
    headers: dict[str, str]
    body: bytes


def json_answer(code: Code, text: str) -> Answer:
    """An answer in JSON."""
    return Answer(HTTP_STATUS[code], {"content-type": "application/json"}, json_text.encode(text))


def error_answer(code: Code, message: str) -> Answer:
    """The answer to a request that failed."""
    return json_answer(code, f'{{\n{json_writing.INDENT}"error": {json_writing.quote(message)}\n}}')


@dataclass(frozen=True)
class _Target:
    """The model that a request names, with its version or label."""

    model: str
    version: int | None
    label: str | None


class Handler:
    """Answers requests as TensorFlow Serving does.

    Args:
        repository: the models.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request. Any number of threads may call this at once.

        Args:
            method: "GET", "POST", ...
            target: the path and the query as they were sent. (TensorFlow Serving reads the query as part of the path.)
            body: the body.
        """
        if not _SERVED.fullmatch(target):
            return Answer(404, {"content-type": "text/html", "connection": "close"}, _NOT_FOUND.encode("ascii"))
        if method == "OPTIONS":
            return Answer(200, {"content-type": "text/html; charset=ISO-8859-1"}, b"")
        try:
            return json_answer(Code.OK, self._route(method, target, body))
        except StatusError as error:
            return error_answer(error.code, error.message)

    def _route(self, method: str, target: str, body: bytes) -> str:
        if method == "POST" and (match := _CALL.fullmatch(target)):
            verb = match["verb"].lower()
            call = self._predict if verb == "predict" else self._refuse_examples
            return call(verb, _read_target(match), body)
        if method == "GET" and (match := _STATUS.fullmatch(target)):
            if match["model"] is None:
                raise invalid("Missing model name in request.")
            return (self._metadata if match["metadata"] else self._status)(_read_target(match))
        raise invalid(f"Malformed request: {method} {target}")

    def _predict(self, verb: str, target: _Target, body: bytes) -> str:
        document = json_codec.parse_object(json_text.parse(body))
        name = json_codec.signature_name(document)
        servable = self._repository.find(target.model, target.version, target.label)
        layout, inputs = json_codec.read_inputs(document, servable.signature(name).inputs)
        return json_answers.write_outputs(servable.run(name, inputs), layout)

    def _refuse_examples(self, verb: str, target: _Target, body: bytes) -> str:
        document = json_codec.parse_object(json_text.parse(body))
        name = json_codec.signature_name(document) or DEFAULT_SIGNATURE
        check_examples(document)
        servable = self._repository.find(target.model, target.version, target.label)
        signature = servable.signatures.get(name)
        check_signature(verb, name, None if signature is None else signature.definition.method_name)
        raise StatusError(Code.UNIMPLEMENTED, f"The development server does not serve :{verb}")

    def _metadata(self, target: _Target) -> str:
        return write_metadata(target.model, self._repository.find(target.model, target.version, target.label))

    def _status(self, target: _Target) -> str:
        states = self._repository.states(target.model)
        if target.version is not None:
            if target.version not in states:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {target.version} of model {target.model}")
            states = {target.version: states[target.version]}
        if not states:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {target.model}")
        entries = [_describe(version, state) for version, state in states.items()]
        return write_message({"model_version_status": entries})


def _read_target(match: re.Match[str]) -> _Target:
    version = None if match["version"] is None else int(match["version"].lstrip("0")[:20] or "0")
    if version is not None and version >= 2**63:
        raise invalid(f"Failed to convert version: {match['version']} to numeric.")
    label = None if match["label"] is None else _unquote(match["label"])
    return _Target(_unquote(match["model"]), version, label)


def _unquote(text: str) -> str:
    return json_text.decode(unquote_to_bytes(json_text.encode(text)))


def _describe(version: int, state: VersionState) -> dict[str, object]:
    return {
        "version": str(version),
        "state": state.state,
        "status": {"error_code": state.code.name, "error_message": state.message},
    }
