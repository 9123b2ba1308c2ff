"""Reads the graph of a SavedModel from its file, without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tfpvae._compat.tensorflow import SavedModel
from tfpvae.errors import ExportError
from tfpvae.signatures import SAVED_MODEL

VARIABLES: Final = "variables/variables"
"""The prefix of the checkpoint's files."""

_TAG = "serve"
_INIT_OP = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_DT_RESOURCE = 20
_XLA_MARK = "_XlaMustCompile"

_CALLS: Final = {
    "PartitionedCall": 0,
    "StatefulPartitionedCall": 0,
    "While": 0,
    "StatelessWhile": 0,
    "If": 1,
    "StatelessIf": 1,
    "Case": 1,
    "StatelessCase": 1,
}
"""Operators that pass inputs to the functions they call, with the number of leading inputs that they do not pass."""

_VARIABLES: Final = ("VarHandleOp", "VariableV2", "Variable")
_ASSIGN: Final = ("AssignVariableOp", "Assign")
_CHANGE: Final = (
    "AssignAdd",
    "AssignSub",
    "ResourceApply",
    "ResourceSparseApply",
    "ResourceScatter",
    "ResourceStridedSliceAssign",
    "Scatter",
    "RngSkip",
    "RngReadAndSkip",
    "Stateful",
)
"""Prefixes of the names of operators that both read and change a variable."""
_NO_VALUE: Final = ("VarIsInitializedOp", "IsVariableInitialized", "DestroyResourceOp", "VariableShape")


@dataclass(frozen=True)
class Place:
    """A node and the name of the function that contains it ("" for the graph itself)."""

    function: str
    node: Any

    def __str__(self) -> str:
        return f"{self.function}/{self.node.name}" if self.function else self.node.name


@dataclass(frozen=True)
class Access:
    """The variables that are read and written: by name, or by argument index if the caller passes them."""

    read: frozenset[str | int] = frozenset()
    written: frozenset[str | int] = frozenset()


class SavedGraph:
    """The meta graph that a server loads from a SavedModel: the one with the tag "serve".

    Args:
        meta_graph: its `MetaGraphDef`.

    Attributes:
        signatures: the `SignatureDef`s by name, without the one that initialises the model.
        assets: the names of the files that it needs in `assets/`.
        nodes: the nodes of the graph itself by name.
        functions: the functions of its library by name.
    """

    def __init__(self, meta_graph: Any) -> None:
        self.signatures = {name: d for name, d in sorted(meta_graph.signature_def.items()) if name != _INIT_OP}
        self.assets = tuple(asset.filename for asset in meta_graph.asset_file_def)
        self.nodes = {node.name: node for node in meta_graph.graph_def.node}
        self.functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
        self._meta_graph = meta_graph
        self._accesses: dict[str, Access] = {}

    @classmethod
    def read(cls, directory: Path) -> SavedGraph:
        """Reads `saved_model.pb`.

        Raises:
            ExportError: the file is missing, cannot be read, or has no graph for a server.
        """
        path = directory / SAVED_MODEL
        try:
            saved_model = SavedModel.FromString(path.read_bytes())
        except OSError as error:
            raise ExportError(f"{path} cannot be read: {error}") from error
        except DecodeError as error:
            raise ExportError(f"{path} is no SavedModel, or is damaged: {error}") from error
        tags = [sorted(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
        if [_TAG] not in tags:
            raise ExportError(f"{path} must hold a graph with the tag {_TAG!r} alone. Received: tags={tags}")
        return cls(saved_model.meta_graphs[tags.index([_TAG])])

    @property
    def restore(self) -> tuple[str, ...]:
        """The operator that restores the variables at load; empty without variables."""
        name = self._meta_graph.saver_def.restore_op_name
        return (name,) if name else ()

    @property
    def save(self) -> tuple[str, ...]:
        """The operator that would write the variables to a checkpoint."""
        name = self._meta_graph.saver_def.save_tensor_name
        return (name,) if name else ()

    @property
    def initialise(self) -> tuple[str, ...]:
        """The operators that run at load, after the variables have been restored."""
        graph = self._meta_graph
        names = [
            info.name for name, d in graph.signature_def.items() if name == _INIT_OP for info in d.outputs.values()
        ]
        for name, collection in graph.collection_def.items():
            if name in _INIT_COLLECTIONS:
                names += collection.node_list.value
        return tuple(names)

    def lacks(self, tensors: Iterable[str]) -> list[str]:
        """The names of nodes that these tensors need, directly or indirectly, and the graph lacks."""
        return sorted({name for name, node in self._walk(tensors) if node is None})

    def places(self, tensors: Iterable[str]) -> list[Place]:
        """All nodes that run to compute these tensors, in the graph and in the functions that it calls."""
        places = [Place("", node) for _, node in self._walk(tensors) if node is not None]
        waiting = [name for place in places for name in self.called(place.node)]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self.functions:
                seen.add(name)
                body = self.functions[name].node_def
                places += [Place(name, node) for node in body]
                waiting += [callee for node in body for callee in self.called(node)]
        return places

    def every_place(self) -> Iterator[Place]:
        """All nodes, used or not."""
        yield from (Place("", node) for node in self.nodes.values())
        for name, function in self.functions.items():
            yield from (Place(name, node) for node in function.node_def)

    def called(self, node: Any) -> set[str]:
        """The functions that a node calls."""
        called = {value.func.name for value in node.attr.values() if value.HasField("func")}
        for value in node.attr.values():
            called |= {function.name for function in value.list.func}
        return called | ({node.op} & self.functions.keys())

    def compiled(self, tensors: Iterable[str]) -> Place | None:
        """The first place where computing these tensors calls a function that XLA must compile, or None.

        TensorFlow Serving refuses such functions unless a flag allows them at start. TensorFlow in Python compiles
        them instead.
        """
        compiled = {name for name, function in self.functions.items() if _must_compile(function)}
        if not compiled:
            return None
        calls = (
            place for place in self.places(tensors) if _must_compile(place.node) or self.called(place.node) & compiled
        )
        return next(calls, None)

    def access(self, tensors: Iterable[str]) -> Access:
        """The variables that computing these tensors reads and writes, by their names in a session."""
        return self._access([node for _, node in self._walk(tensors) if node is not None], self.nodes, {})

    def strings(self, function: str, tensor: str) -> list[str] | None:
        """The value of a constant list of strings; None if the tensor is not one."""
        nodes = self._body(function)
        node = nodes.get(_producer(tensor))
        if node is None or node.op != "Const":
            return None
        return [value.decode("utf-8", "replace") for value in node.attr["value"].tensor.string_val]

    def _body(self, function: str) -> dict[str, Any]:
        return {node.name: node for node in self.functions[function].node_def} if function else self.nodes

    def _walk(self, tensors: Iterable[str]) -> list[tuple[str, Any]]:
        nodes: dict[str, Any] = {}
        waiting = [_producer(tensor) for tensor in tensors]
        while waiting:
            name = waiting.pop()
            if name not in nodes:
                nodes[name] = self.nodes.get(name)
                waiting += [_producer(i) for i in (nodes[name].input if nodes[name] is not None else ())]
        return list(nodes.items())

    def _access(self, nodes: Iterable[Any], by_name: dict[str, Any], arguments: dict[str, int]) -> Access:
        read: set[str | int] = set()
        written: set[str | int] = set()
        for node in nodes:
            inputs = [_variable(i, by_name, arguments) for i in node.input if not i.startswith("^")]
            callees = self.called(node) & self.functions.keys()
            kept = _CALLS.get(node.op, 0 if node.op in self.functions else None)
            for callee in sorted(callees):
                inner = self._access_of_function(callee)
                handed_on = inputs[kept:] if kept is not None else []
                read |= _from_caller(inner.read, handed_on)
                written |= _from_caller(inner.written, handed_on)
            if (callees and kept is not None) or node.op in _NO_VALUE or _is_alias(node):
                continue
            given = [(index, key) for index, key in enumerate(inputs) if key is not None]
            assigned = {key for index, key in given if index == 0 and node.op in _ASSIGN}
            read |= {key for _, key in given} - assigned
            written |= assigned
            if node.op.startswith(_CHANGE) and not callees:
                written |= {key for index, key in given if index == 0}
        return Access(frozenset(read), frozenset(written))

    def _access_of_function(self, name: str) -> Access:
        if name not in self._accesses:
            self._accesses[name] = Access()  # Ends the recursion of a function that calls itself.
            function = self.functions[name]
            arguments = {argument.name: index for index, argument in enumerate(function.signature.input_arg)}
            self._accesses[name] = self._access(function.node_def, self._body(name), arguments)
        return self._accesses[name]


def _producer(tensor: str) -> str:
    """The name of the node that produces a tensor: `name`, `name:0`, `name:output:0` and `^name` give `name`."""
    return tensor.lstrip("^").partition(":")[0]


def _must_compile(node: Any) -> bool:
    """Whether a node or a function is marked for XLA."""
    return _XLA_MARK in node.attr and node.attr[_XLA_MARK].b


def _is_alias(node: Any) -> bool:
    return node.op == "Identity" and node.attr["T"].type == _DT_RESOURCE


def _variable(tensor: str, by_name: dict[str, Any], arguments: dict[str, int]) -> str | int | None:
    """The name of the variable whose handle the tensor is, or the index of the argument that holds it."""
    for _ in range(len(by_name) + 1):
        name = _producer(tensor)
        if name in arguments:
            return arguments[name]
        node = by_name.get(name)
        if node is None:
            return None
        if node.op in _VARIABLES:
            return node.attr["shared_name"].s.decode("utf-8", "replace") or node.name
        if not (_is_alias(node) and node.input):
            return None
        tensor = node.input[0]
    return None


def _from_caller(keys: Iterable[str | int], inputs: list[str | int | None]) -> set[str | int]:
    outer_keys: set[str | int] = set()
    for key in keys:
        outer = key if isinstance(key, str) else inputs[key] if key < len(inputs) else None
        if outer is not None:
            outer_keys.add(outer)
    return outer_keys
