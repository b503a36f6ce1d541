"""The shape of the package: which way imports point, what is public, and what importing costs."""

import ast
import graphlib
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tinynn
from tinynn.data import DataLoaderFactory
from tinynn.schedules import _Schedule

FOLDER = Path(tinynn.__file__).parent

# What stands higher may import what stands lower; never the other way, nor its neighbours. A folder
# is one part, and so is a file at the top, which is "everything else" where it is not listed.
LEVELS = [
    {"_version", "errors"},
    {"random"},
    {"core"},
    {"schedules", "initializers", "parameter"},
    {"modules"},
    {"losses", "optimizers", "metrics"},
    {"files", "plot", "compiled"},
    {"training"},
    {"inspection"},
    {"course"},
]
# In `core` lie the parts that chapters below the rest of it are made of, too.
FOUNDATION = {"errors", "random", "core"}
DATA_MAY_IMPORT = {"data", "errors", "random", "core"}


def level(part):
    return next((i for i, parts in enumerate(LEVELS) if part in parts), len(LEVELS))


def imports(path, package):
    """The files of a package that a file imports, anywhere in it, for type checkers as well."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (
            (name, node.lineno) for name in names if name.split(".")[0] == package and "." in name
        )


def files(folder):
    """The files of a package by their dotted names, a folder's own file by that of the folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


PACKAGES = {
    folder.name: files(folder)
    for folder in (FOLDER, Path(__file__).parents[1] / "benchmarks")
    if folder.is_dir()
}
FILES = {name: path for name, path in PACKAGES["tinynn"].items() if name != "tinynn"}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    own = name.split(".")[1]
    for imported, line in imports(FILES[name], "tinynn"):
        part = imported.split(".")[1]
        where = f"{name}, line {line}, imports tinynn.{part}"
        if own == "data":
            assert part in DATA_MAY_IMPORT, f"{where}, but data stands beside the rest"
        elif part != own and not {part, own} <= FOUNDATION:
            assert level(own) == len(LEVELS) or level(part) < level(own), (
                f"{where}, which stands no lower; see LEVELS in {__file__}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_imports_itself_by_way_of_others(package):
    known = PACKAGES[package]
    below = {}
    for name, path in known.items():
        targets = {imported for imported, _ in imports(path, package)}
        below[name] = {t if t in known else t.rpartition(".")[0] for t in targets} & set(known)
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_the_levels_are_there():
    there = {name.split(".")[1] for name in FILES}
    assert set().union(*LEVELS, DATA_MAY_IMPORT) <= there


# ---- what is public ------------------------------------------------------------------------------

MODULES = sorted(
    info.name
    for info in [
        pkgutil.ModuleInfo(None, "tinynn", True),
        *pkgutil.walk_packages(tinynn.__path__, "tinynn."),
    ]
    if not any(part.startswith("_") for part in info.name.split("."))
)
every_module = pytest.mark.parametrize("name", MODULES)


def defined_in(module):
    """The functions and classes that a module defines itself, under names without underscore."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and isinstance(value, type | types.FunctionType)
        and value.__module__ == module.__name__
    }


@every_module
def test_all_is_the_truth(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} needs a docstring"
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    for public in listed:
        assert hasattr(module, public), f"{name}.__all__ lists {public}, which is not there"
        assert not public.startswith("_") or public == "__version__"
    star = {}
    exec(f"from {name} import *", star)
    assert set(listed) <= set(star)


@every_module
def test_what_is_public_is_documented(name):
    module = importlib.import_module(name)
    for public, value in defined_in(module).items():
        assert inspect.getdoc(value), f"{name}.{public} needs a docstring"
        if not isinstance(value, type):
            continue
        for method, function in vars(value).items():
            if not method.startswith("_") and isinstance(function, types.FunctionType | property):
                where = f"{name}.{public}.{method}"
                assert inspect.getdoc(getattr(value, method)), f"{where} needs a docstring"


# What users import from. What lies deeper they reach through these.
FACES = [
    importlib.import_module(name)
    for name in MODULES
    if name.count(".") < 2 and name != "tinynn.__main__"
]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_what_is_public_shows_an_example(face):
    lacking = [
        public
        for public in face.__all__
        if callable(value := getattr(face, public))
        and not (isinstance(value, type) and issubclass(value, BaseException))  # nobody calls these
        and "Examples\n--------\n" not in inspect.getdoc(value)
    ]
    assert not lacking, f"{', '.join(lacking)} of {face.__name__}: the docstring needs Examples"


def test_the_flat_face_is_what_the_files_list():
    for public in tinynn.__all__:
        value = getattr(tinynn, public)
        if isinstance(value, type | types.FunctionType):
            home = importlib.import_module(value.__module__)
            assert getattr(home, public) is value
            assert public in home.__all__, f"{value.__module__}.__all__ lacks {public}"


# ---- what is added is listed ---------------------------------------------------------------------

# The base class of each kind that CONTRIBUTING.md says how to add, by where users find it.
KINDS = {
    "modules": tinynn.Module,
    "losses": tinynn.Loss,
    "optimizers": tinynn.Optimizer,
    "schedules": _Schedule,
    "data": DataLoaderFactory,
    "training": tinynn.Callback,
}


def made_of(base, home):
    """All classes of a folder or file that are made of a base class, at any depth."""
    for cls in base.__subclasses__():
        if cls.__module__ == home or cls.__module__.startswith(f"{home}."):
            yield cls
        yield from made_of(cls, home)


def unlisted(base, home):
    """What must still be done for each class of a kind to be found by its users."""
    face = importlib.import_module(home)
    for info in pkgutil.iter_modules(getattr(face, "__path__", []), f"{home}."):
        importlib.import_module(info.name)
    for cls in set(made_of(base, home)):
        name, file = cls.__name__, sys.modules[cls.__module__]
        path = f"{cls.__module__.replace('.', '/')}.py"
        if name.startswith("_") or (name not in face.__all__ and any(made_of(cls, home))):
            continue  # what others are made of
        if name not in file.__all__:
            yield f"{name}: add it to __all__ of {path}, or begin its name with an underscore"
        elif name not in face.__all__ or getattr(face, name) is not cls:
            folder = home.replace(".", "/")
            yield f"{name}, of {path}: import it in {folder}/__init__.py, and add it to __all__"
        elif home == "tinynn.training" and name not in tinynn.__all__:
            yield f'{name}, of {path}: add "{name}": "training" to _LATER of tinynn/__init__.py'


@pytest.mark.parametrize("home", KINDS)
def test_what_is_added_is_listed_and_re_exported(home):
    forgotten = sorted(unlisted(KINDS[home], f"tinynn.{home}"))
    assert not forgotten, "\n".join(forgotten)


# ---- what importing costs ------------------------------------------------------------------------


def in_fresh_python(code):
    """What a program prints that begins with NumPy alone."""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys, numpy\nbefore = set(sys.modules)\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=FOLDER.parent,
    )
    return run.stdout.split()


def test_importing_brings_numpy_and_little_else():
    loaded = in_fresh_python("import tinynn\nprint(*set(sys.modules) - before)")
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"tinynn", "numpy"}, f"import tinynn imports {sorted(foreign)}"
    # What takes longest: NumPy loads it for whoever draws, and it brings a lot along.
    slow = {"numpy.random", "pathlib", "json", "dataclasses"} & set(loaded)
    assert not slow, f"import tinynn imports {sorted(slow)}"
    later = {f"tinynn.{home}" for home in tinynn._LATER.values()} & set(loaded)
    assert not later, f"{sorted(later)} should be loaded when asked for"


@pytest.mark.parametrize("name", ["data", "check_gradients", "training"])
def test_what_is_loaded_later_brings_little_else(name):
    loaded = in_fresh_python(f"import tinynn\ntinynn.{name}\nprint(*set(sys.modules) - before)")
    assert f"tinynn.{tinynn._LATER[name]}" in loaded
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"tinynn", "numpy"}, f"tinynn.{name} imports {sorted(foreign)}"


def test_what_is_loaded_later_is_what_type_checkers_see():
    tree = ast.parse(Path(tinynn.__file__).read_text("utf-8"))
    branch = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {}
    for node in branch.body:
        home = node.module.removeprefix("tinynn").removeprefix(".")
        if home:
            assert [alias.name for alias in node.names] == ["*"]
            seen |= dict.fromkeys(importlib.import_module(node.module).__all__, home)
        else:
            seen |= {alias.name: alias.name for alias in node.names}
    forgotten = sorted(set(seen) - set(tinynn._LATER))
    assert not forgotten, f"add {', '.join(forgotten)} to _LATER of {tinynn.__file__}"
    assert seen == tinynn._LATER


def test_dir_shows_the_public_names_alone():
    assert dir(tinynn) == sorted(tinynn.__all__)


def test_the_face_is_whole_before_it_is_loaded():
    # Each in a process of its own: what one asks for, the next one would find.
    listed = in_fresh_python("import tinynn\nprint(*dir(tinynn))")
    assert set(tinynn.__all__) <= set(listed)
    starred = in_fresh_python("from tinynn import *\nprint(*globals())")
    assert set(tinynn.__all__) <= set(starred)
    helped = in_fresh_python("import tinynn\nhelp(tinynn)")
    assert {"check_gradients(what:", "EarlyStopping"} <= {word.strip("|") for word in helped}


def test_what_is_not_there_says_so():
    with pytest.raises(AttributeError, match="module 'tinynn' has no attribute 'Liner'"):
        tinynn.Liner  # noqa: B018 - to be looked up
    with pytest.raises(ImportError, match="cannot import name 'Liner' from 'tinynn'"):
        from tinynn import Liner  # noqa: F401 - to be looked up
