"""`:classify` and `:regress`: how TensorFlow Serving refuses them where a model has only signatures to predict.

Both take a list of `tf.Example`s. TensorFlow Serving checks the examples before the signature, so this server checks
them too, although it never runs such a signature.
"""

from __future__ import annotations

from tfpvae.server.json_codec import read_tensor
from tfpvae.server.json_text import JsonObject, JsonValue, type_name
from tfpvae.server.json_writing import write
from tfpvae.server.status import StatusError, invalid


def check_examples(document: JsonObject) -> None:
    """Checks the `examples` of a request, and its `context`.

    Raises:
        StatusError: they are not a list of objects, or the values of a feature are of different kinds.
    """
    if "context" in document:
        _check_example(document["context"])
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(document, "'examples' value is an empty array")
    for example in examples:
        _check_example(example)


def check_signature(verb: str, name: str, method_name: str | None) -> None:
    """Refuses a signature that is not of the verb's kind.

    Args:
        verb: "classify" or "regress".
        name: the signature's name.
        method_name: the signature's method, or None where the model has no such signature.

    Raises:
        StatusError: the signature is missing, or is one of `:predict`.
    """
    kind, expected = _KIND_OF_VERB[verb], f"tensorflow/serving/{verb}"
    if method_name is None:
        raise invalid(f"No signature was found with the name: {name}")
    if method_name != expected:
        raise invalid(f"Expected {kind} signature method_name to be {expected}. Was: {method_name}")


_KIND_OF_VERB = {"classify": "classification", "regress": "regression"}


def _format_error(document: JsonObject, what: str) -> StatusError:
    return invalid(f"JSON Value: {write(document)} {what}")


def _check_example(example: JsonValue) -> None:
    if not isinstance(example, JsonObject):
        raise invalid(f"Example must be JSON object but got JSON {type_name(example)}")
    for name, content in example:
        kind = None
        for value in content if isinstance(content, list) else [content]:
            received = _feature_kind(name, value)
            if kind not in (None, received):
                raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
            kind = received


def _feature_kind(name: str, value: JsonValue) -> str:
    """The kind of `tf.train.Feature` that holds a value."""
    match value:
        case JsonObject() if {member for member, _ in value} == {"b64"}:
            read_tensor(value, "string")
            return "bytes"
        case None | list() | JsonObject():
            raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
        case str():
            return "bytes"
        case float():
            return "float"
        case _ if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        case _:
            return "int64"
