"""The package as a whole: what importing it loads, what it names, and who may import whom."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfpvae

ROOT = Path(tfpvae.__file__).parent

# docs/architecture.md: a module imports only from earlier groups, or from its own package.
LAYOUT = [
    {
        "_compat",
        "_registry",
        "errors",
        "_extras",
        "checks",
        "files",
        "_lazy",
        "_logs",
        "_directories",
        "_processes",
        "signatures",
        "images",
        "records",
        "supports",
        "manifest",
    },
    {"batch", "random", "schedules"},
    {"layers"},
    {"priors"},
    {"objectives"},
    {"models"},
    {"architectures"},
    {"savedmodel"},
    {"evaluate"},
    {"data"},
    {"training"},
    {"export"},
    {"server"},
    {"client"},
    {"edge"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, group in enumerate(LAYOUT) for name in group}


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120)


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if "_data" not in path.parts)


def part(module: str) -> str:
    """`tfpvae.export.targets.onnx` to `export`; `tfpvae` to nothing."""
    return module.split(".")[1] if "." in module else ""


def imported_parts(path: Path) -> set[str]:
    """The parts of tfpvae that a module imports anywhere in it, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "tfpvae" else {node.module or ""}
    return {part(name) for name in names if name.partition(".")[0] == "tfpvae"} - {"", "__version__"}


@pytest.mark.parametrize("path", [p for p in modules() if p != Path("__init__.py")], ids=str)
def test_imports_run_one_way(path):
    own = path.parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no place in LAYOUT"
    for other in imported_parts(path) - {own}:
        assert LEVEL[other] <= LEVEL[own], f"{path} imports tfpvae.{other}, which comes later"
        assert LEVEL[other] < LEVEL[own] or LEVEL[own] == 0, f"{path} imports tfpvae.{other}, which stands beside it"


def imported_modules(path: Path) -> set[Path]:
    """The modules of the same package that a module imports anywhere in it, but for types alone."""
    package = path.parts[0]
    names: set[str] = set()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in (node for node in ast.walk(tree) if id(node) not in left_out):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    own = {name.removeprefix("tfpvae.").replace(".", "/") for name in names if name.startswith(f"tfpvae.{package}.")}
    return {Path(f"{name}.py") for name in own if (ROOT / f"{name}.py").exists()} - {path}


@pytest.mark.parametrize("package", sorted({path.parts[0] for path in modules() if len(path.parts) > 1}))
def test_no_package_has_an_import_cycle(package):
    """Imports inside functions count too. An `__init__.py` gathers names, and is left out."""
    graph = {
        path: sorted(imported_modules(path))
        for path in modules()
        if path.parts[0] == package and len(path.parts) > 1 and path.name != "__init__.py"
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a cycle: {' <- '.join(map(str, error.args[1]))}")


@pytest.mark.parametrize(
    "statement", ["import tfpvae", "import tfpvae.client", "import tfpvae.edge", "import tfpvae.data",
                  "import tfpvae.signatures, tfpvae.random.numpy, tfpvae.random.seeds",
                  "from tfpvae import client, edge, data",
                  "from tfpvae.export import Profile", "import tfpvae.cli",
                  "from tfpvae.export.repository import hashes, inventory, model_config, versions",
                  "from tfpvae.training import TrainConfig, open_run; TrainConfig('digits')"],
)  # fmt: skip
def test_what_a_client_imports_loads_neither_tensorflow_nor_keras(statement):
    code = (
        f"{statement}\nimport sys\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_probability', 'tf_keras', 'onnxruntime', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    finished = run(code, "-W", "error")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


def test_every_public_name_resolves():
    assert dir(tfpvae) == sorted(tfpvae.__all__)
    for name in tfpvae.__all__:
        assert getattr(tfpvae, name) is not None
    with pytest.raises(AttributeError, match="module 'tfpvae' has no attribute 'Vae'"):
        tfpvae.Vae  # noqa: B018


def test_no_public_name_is_that_of_a_module_beside_it():
    """Importing such a module would put it in the place of the name."""
    import importlib

    for path in (path for path in modules() if path.name == "__init__.py"):
        package = importlib.import_module(".".join(("tfpvae", *path.parent.parts)))
        beside = {other.stem for other in (ROOT / path.parent).glob("*.py")}
        beside |= {other.parent.name for other in (ROOT / path.parent).glob("*/__init__.py")}
        for name in set(getattr(package, "__all__", vars(package))) & beside - {"__init__"}:
            assert getattr(package, name) is sys.modules.get(f"{package.__name__}.{name}"), f"{package.__name__}.{name}"


@pytest.mark.parametrize(
    "package", ["client", "data", "evaluate", "export", "layers", "models", "priors", "server", "training"]
)
def test_every_name_in_a_packages_all_is_there(package):
    import importlib

    module = importlib.import_module(f"tfpvae.{package}")
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert tfpvae.__version__ == version("tfpvae")


BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import tfpvae
from tfpvae.errors import MissingExtraError, TfpvaeError
try:
    {statement}
except MissingExtraError as error:
    assert isinstance(error, ImportError) and isinstance(error, TfpvaeError)
    assert isinstance(error.__cause__, ModuleNotFoundError)
    print(error)
"""


@pytest.mark.parametrize(
    ("blocked", "statement", "message"),
    [
        ("tensorflow", "tfpvae.VAE", "tfpvae.VAE needs the package 'tensorflow', which is not installed. "
         "Install it with: pip install 'tfpvae[train]'"),
        ("keras", "tfpvae.layers", "tfpvae.layers needs the package 'keras', which is not installed. "
         "Install it with: pip install 'tfpvae[train]'"),
        ("tensorflow", "from tfpvae import priors", "tfpvae.priors needs the package 'tensorflow', which is not "
         "installed. Install it with: pip install 'tfpvae[train]'"),
        ("keras", "from tfpvae.training import train", "tfpvae.training.train needs the package 'keras', which is not "
         "installed. Install it with: pip install 'tfpvae[train]'"),
        ("tf2onnx", "from tfpvae.export.targets.base import targets; targets()",
         "tfpvae.export_model needs the package 'tf2onnx', which is not installed. "
         "Install it with: pip install 'tfpvae[train]'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_an_error_that_names_the_command(blocked, statement, message):
    finished = run(BLOCKER.format(blocked={blocked}, statement=statement))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == message


def test_any_other_missing_module_is_not_dressed_up():
    from tfpvae._extras import explain_missing

    with pytest.raises(ModuleNotFoundError, match="no_such_module") as raised, explain_missing("x"):
        import no_such_module  # noqa: F401
    assert type(raised.value) is ModuleNotFoundError


def test_errors_are_one_tree():
    from tfpvae import errors

    for name, error in vars(errors).items():
        if isinstance(error, type):
            assert issubclass(error, errors.TfpvaeError), name
            assert error.__doc__


# Private names of other packages.

FOREIGN = ("keras", "tensorflow", "tensorflow_probability", "tf_keras", "tf2onnx", "onnxruntime", "onnx")
# Undocumented modules of other packages, which are no names with an underscore.
PRIVATE_MODULES = (r"keras\.src", r"tensorflow\.(python|core)", r"onnxruntime\.capi", r"tf2onnx\.(?!convert)")
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE


def own_names(tree: ast.AST) -> set[str]:
    """Every name that a module gives to a function, a class, a class's attribute or an object's attribute."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    names.add(target.id)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else set()
    return names


TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in modules()}
OWN_NAMES = set().union(*(own_names(tree) for path, tree in TREES.items() if path.parts[0] != "_compat"))


def foreign_private_names(tree: ast.AST) -> list[str]:
    """The private names of other packages that a module uses, each with its line."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [ast.unparse(node)] if private(node.attr) and node.attr not in OWN_NAMES else []
            names += [ast.unparse(node)] if re.fullmatch("|".join(PRIVATE_MODULES), ast.unparse(node)) else []
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            # `getattr(thing, "_name")`, and keyword arguments by their names.
            names = [f"keras.{node.value}"] if node.value in foreign_members() else []
        if not isinstance(node, ast.Attribute):
            parts = [name.split(".") for name in names if name.partition(".")[0] in FOREIGN]
            names = [
                ".".join(each)
                for each in parts
                if any(private(part) for part in each) or re.match("|".join(PRIVATE_MODULES), ".".join(each))
            ]
        found += [f"{node.lineno}: {name}" for name in names]
    return found


@functools.cache
def foreign_members() -> set[str]:
    """The private names of Keras's and TFP's classes that tfpvae derives from."""
    import keras
    from tensorflow_probability import bijectors, distributions

    classes = [keras.Model, keras.layers.Layer, keras.Variable, keras.optimizers.Adam, keras.KerasTensor]
    classes += [distributions.Distribution, bijectors.Bijector]
    return {name for cls in classes for name in dir(cls) if private(name)} | {"_use_cached_eval_dataset"}


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] != "_compat"], ids=str)
def test_private_names_of_other_packages_stand_in_compat(path):
    assert foreign_private_names(TREES[path]) == []


def test_compat_is_where_they_are():
    """The test above finds them where they are known to be."""
    for path in (path for path in modules() if path.parts[0] == "_compat" and path.name != "__init__.py"):
        assert foreign_private_names(TREES[path]) != [], path


@pytest.mark.parametrize("source", [
    "import keras\nkeras.src.backend.f()", "from tensorflow.python.util import x", "import tensorflow.core.framework.y",
    "from tf2onnx import utils\nutils._x", "layer._flatten_layers()", "getattr(layer, '_flatten_layers')",
    "options.get('_use_cached_eval_dataset')", "import onnxruntime\nonnxruntime.capi.x", "self._momentums[0]",
])  # fmt: skip
def test_each_way_to_a_private_name_is_found(source):
    assert foreign_private_names(ast.parse(source)) != []


# What a fresh process finds. TensorFlow takes seconds to import: one process answers all questions, in this order.

FRESH = """
import importlib, importlib.util, inspect, json, pathlib, sys
import tfpvae

answers = {}
specs = [importlib.util.find_spec("keras") for _ in range(2)]
import keras

answers["keras was found"] = None not in specs
answers["finders left"] = [str(f) for f in sys.meta_path if type(f).__module__.startswith("tfpvae")]
answers["a model is registered"] = "tfpvae>VAE" in keras.saving.get_custom_objects()
answers["models are loaded"] = "tfpvae.models" in sys.modules

answers["modules"] = [getattr(tfpvae, name).__name__ for name in TOP]

answers["lazy"] = []
for package in (tfpvae.server, tfpvae.training, tfpvae.export):
    if dir(package) != sorted(package.__all__) or hasattr(package, "nothing"):
        answers["lazy"].append([package.__name__, dir(package)])
    for name in package.__all__:
        value = getattr(package, name)
        is_its = value.__module__.startswith(package.__name__ + ".") and value.__name__ == name
        if not is_its or value is not getattr(package, name):
            answers["lazy"].append([package.__name__, name])

modules = [importlib.import_module(name) for name in EVERY]
is_ours = lambda thing: inspect.isclass(thing) or inspect.isfunction(thing)
registered = {k for k, v in keras.saving.get_custom_objects().items() if k.startswith("tfpvae>") and is_ours(v)}
stand_ins = {f"tfpvae>{name}" for name in tfpvae._registry.registered_classes()}
answers["stand-ins"] = sorted(registered ^ stand_ins)

answers["overrides"] = [
    (cls.__qualname__, base.__qualname__, name)
    for module in modules if not module.__name__.startswith("tfpvae._compat")
    for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == module.__name__
    for base in cls.__mro__[1:] if base.__module__.partition(".")[0] in FOREIGN
    for name in vars(cls).keys() & vars(base).keys()
    if name.startswith("_") and not name.startswith("__") and name not in GENERATED
]
print(json.dumps(answers))
"""
# Written into each class by a metaclass: of abc, of TensorFlow, and of TFP's distributions.
GENERATED = {"_abc_impl", "_tf_api_names", "_type_spec", "_convert_variables_to_tensors"}
TOP = sorted({path.parts[0].removesuffix(".py") for path in modules()} - {"__init__", "__main__"})


@pytest.fixture(scope="module")
def fresh() -> dict[str, object]:
    every = [".".join(("tfpvae", *path.with_suffix("").parts)).removesuffix(".__init__") for path in modules()]
    values = {
        "TOP": TOP,
        "EVERY": [name for name in every if name != "tfpvae.__main__"],
        # TFP's documentation tells subclasses to define `_log_prob`, `_sample_n` and so on.
        "FOREIGN": set(FOREIGN) - {"tensorflow_probability"},
        "GENERATED": GENERATED,
    }
    finished = run("".join(f"{name} = {value!r}\n" for name, value in values.items()) + FRESH)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_every_module_is_there_after_a_bare_import(fresh):
    assert fresh["modules"] == [f"tfpvae.{name}" for name in TOP]


def test_a_lazy_package_names_and_finds_what_it_has(fresh):
    assert fresh["lazy"] == []


def test_the_stand_ins_are_the_classes_registered_with_keras(fresh):
    """All classes that tfpvae registers, and no others, can be loaded after a bare `import tfpvae`."""
    assert fresh["stand-ins"] == []


def test_looking_for_keras_before_importing_it_keeps_the_stand_ins(fresh):
    assert fresh["keras was found"]
    assert fresh["a model is registered"]
    assert not fresh["models are loaded"]
    assert fresh["finders left"] == []


def test_no_class_overrides_a_private_member_of_another_package(fresh):
    assert fresh["overrides"] == []
