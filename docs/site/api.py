"""The reference: one page for everything public, found by itself, and a list of all of it."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import types
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import tinynn

__all__ = ["Public", "documented", "everything", "first_sentence", "write"]

# What the parts of tinynn are called in the reference; one without a name here has its own.
TITLES = {
    "modules": "Modules",
    "losses": "Losses",
    "optimizers": "Optimizers",
    "schedules": "Schedules",
    "initializers": "Initial weights",
    "metrics": "Metrics",
    "training": "Training",
    "inspection": "Proofs, and looking inside",
    "data": "Data",
    "plot": "Pictures",
    "estimators": "Estimators",
    "files": "Files",
    "distributed": "Several processes",
    "parameter": "Parameters",
    "random": "Randomness",
    "core": "Settings",
    "errors": "Errors",
}


class Public(NamedTuple):
    """One public class, function or value: where users import it from, and what it is."""

    face: str
    name: str
    value: object

    @property
    def target(self) -> str:
        """The dotted name under which it is imported."""
        return f"{self.face}.{self.name}"

    @property
    def kind(self) -> str:
        """The directive that documents it."""
        if isinstance(self.value, type):
            return "class"
        return "function" if callable(self.value) else "data"

    @property
    def page(self) -> str:
        """The page, below the folder of the reference; `Trace` and `trace` must not meet."""
        return f"{self.kind}/{self.target}"

    @property
    def part(self) -> str:
        """The part of tinynn that it comes from."""
        home = getattr(self.value, "__module__", None) or self.face
        return home.split(".")[1] if home.startswith("tinynn.") else self.face.split(".")[-1]


@functools.cache
def everything() -> list[Public]:
    """Return all that is public: what `tinynn` lists, and then what its public files list.

    Each thing comes once, under the shortest name by which it is imported.
    """
    found: list[Public] = []
    seen: set[int] = set()
    infos = [i for i in pkgutil.iter_modules(tinynn.__path__) if not i.name.startswith("_")]
    faces = ["tinynn", *(f"tinynn.{info.name}" for info in infos)]
    for face in faces:
        module = importlib.import_module(face)
        for name in sorted(module.__all__, key=str.lower):
            value = getattr(module, name)
            if isinstance(value, types.ModuleType) or name.startswith("_") or id(value) in seen:
                continue
            if callable(value):
                seen.add(id(value))
            found.append(Public(face, name, value))
    return found


@functools.cache
def documented() -> dict[str, str]:
    """Return the dotted name of the page's object for each name that a docstring may use."""
    table: dict[str, str] = {}
    for public in everything():
        table.setdefault(public.name, public.target)
        table[public.target] = public.target
        table[public.target.removeprefix("tinynn.")] = public.target
        home = getattr(public.value, "__module__", None)
        if home:
            table[f"{home}.{public.name}"] = public.target
        if isinstance(public.value, type):
            for name, member in vars(public.value).items():
                is_member = isinstance(member, types.FunctionType | property | classmethod)
                if is_member and not name.startswith("_") and inspect.getdoc(member):
                    table[f"{public.name}.{name}"] = f"{public.target}.{name}"
    return table


def first_sentence(value: object) -> str:
    """Return what an object is, in one sentence of its docstring."""
    text = inspect.getdoc(value) or ""
    return " ".join(text.split("\n\n")[0].split())


def write(folder: Path) -> None:
    """Write the pages of the reference, and the list of them."""
    parts: dict[str, list[Public]] = defaultdict(list)
    for public in everything():
        parts[public.part].append(public)
        page = folder / f"{public.page}.rst"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_page(public), "utf-8")
    order = [part for part in TITLES if part in parts]
    order += sorted(set(parts) - set(TITLES))
    lines = ["API", "===", "", _HEAD, ""]
    for part in order:
        title = TITLES.get(part, part.replace("_", " ").capitalize())
        lines += [title, "-" * len(title), "", ".. list-table::", "   :widths: 30 70", ""]
        for public in parts[part]:
            called = public.target.removeprefix("tinynn.")
            lines += [f"   * - :doc:`{called} <{public.page}>`"]
            lines += [f"     - {first_sentence(public.value) if public.kind != 'data' else ''}"]
        lines += ["", ".. toctree::", "   :hidden:", ""]
        lines += [f"   {public.name} <{public.page}>" for public in parts[part]]
        lines += [""]
    (folder / "index.rst").write_text("\n".join(lines), "utf-8")


_HEAD = """
Everything public, by the part of tinynn that it comes from. Names without a dot are imported from
``tinynn`` itself. Each page has a link to the source, where a module's forward pass stands right
above its gradient. :doc:`../modules` shows all modules side by side, with their formulas."""


def _page(public: Public) -> str:
    title = public.name
    lines = [title, "=" * len(title), "", f".. currentmodule:: {public.face}", ""]
    lines += [f".. auto{public.kind}:: {public.target}"]
    if public.kind == "class":
        lines += ["   :members:"]
        # What a base that has no page of its own brings is shown here.
        have_pages = {id(other.value) for other in everything()}
        stops = [
            base.__name__
            for base in public.value.__mro__[1:]  # type: ignore[attr-defined]
            if id(base) in have_pages or not base.__module__.startswith("tinynn")
        ]
        lines += [f"   :inherited-members: {', '.join(stops)}"]
    return "\n".join([*lines, ""])
