"""A page for each student: what is right, what is wrong and why, and where to go on."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from tinynn.course.exercises import find
from tinynn.course.grading import Grade

__all__ = ["as_page", "write_pages"]

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f6f8fa; --right: #1a7f37;
  --wrong: #b35900; --text: #1f2328; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #151b23; --right: #3fb950;
  --wrong: #e8a33d; --text: #f0f6fc; --page: #0d1117; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 50rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0.5rem 0 0; }
.total { font-size: 1.1rem; margin: 0.3rem 0 1rem; }
.bar { height: 0.6rem; border-radius: 0.3rem; background: var(--line); overflow: hidden; }
.bar div { height: 100%; background: var(--right); }
section { border: 1px solid var(--line); border-radius: 0.5rem; margin: 1rem 0;
  padding: 0 1rem 0.6rem; }
h2 { font-size: 1.05rem; display: flex; gap: 1rem; justify-content: space-between;
  margin: 0.7rem 0; }
h2 span:last-child { white-space: nowrap; }
.part { border-top: 1px solid var(--line); padding: 0.45rem 0; }
.right b { color: var(--right); } .wrong b { color: var(--wrong); }
pre { background: var(--soft); border-radius: 0.4rem; padding: 0.6rem; margin: 0.4rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.87rem; }
.remark { border-left: 4px solid var(--wrong); padding: 0.3rem 0.8rem; background: var(--soft); }
details { margin: 0.3rem 0; } summary { cursor: pointer; }
"""


def as_page(grade: Grade) -> str:
    """Return a student's feedback as a page of HTML.

    Parameters
    ----------
    grade : Grade
        What was found.

    Returns
    -------
    str
        The whole page; it needs no other file, and no script.

    Examples
    --------
    >>> as_page(Grade("ada", Path("ada.ipynb"), remark="it did not end")).count("did not end")
    1
    """
    share = 100 * grade.points / grade.max_points if grade.max_points else 0
    sections = [_section(name, grade) for name in grade.parts]
    remark = f'<p class="remark">{html.escape(grade.remark)}</p>' if grade.remark else ""
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(grade.student)}: feedback</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{html.escape(grade.student)}</h1>",
            f'<p class="total">{grade.points:g} of {grade.max_points:g} points</p>',
            f'<div class="bar"><div style="width: {share:.0f}%"></div></div>',
            remark,
            *sections,
            "</body></html>\n",
        ]
    )


def _section(name: str, grade: Grade) -> str:
    exercise, parts = find(name), grade.parts[name]
    earned, most = sum(p.points for p in parts if p.ok), sum(p.points for p in parts)
    lines = [
        f"<section><h2><span>{html.escape(exercise.title)} <code>{name}</code></span>"
        f"<span>{earned:g} of {most:g}</span></h2>"
    ]
    shown: set[str] = set()
    for part in parts:
        mark, kind = ("✓", "right") if part.ok else ("✗", "wrong")
        lines.append(f'<div class="part {kind}"><b>{mark}</b> {html.escape(part.name)}')
        if part.message and not part.ok:
            if part.message in shown:
                lines.append("<br><small>as above</small>")
            else:
                lines.append(f"<pre>{html.escape(part.message)}</pre>")
            shown.add(part.message)
        lines.append("</div>")
    if earned < most and exercise.hints:
        items = "".join(f"<li>{html.escape(hint)}</li>" for hint in exercise.hints)
        lines.append(f"<details><summary>Hints</summary><ol>{items}</ol></details>")
    lines.append("</section>")
    return "\n".join(lines)


def write_pages(grades: Sequence[Grade], folder: str | Path) -> list[Path]:
    """Write a page for each student.

    Parameters
    ----------
    grades : sequence of Grade
        As `grade_all` returns them.
    folder : str or Path
        Made where it is missing.

    Returns
    -------
    list of Path
        The pages, in the same order.
    """
    folder, written = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for grade in grades:
        stem = re.sub(r"[^\w.-]+", "_", grade.student).strip("._") or "student"
        path = folder / f"{stem}.html"
        number = 2
        while path in written:
            path, number = folder / f"{stem}_{number}.html", number + 1
        path.write_text(as_page(grade), "utf-8")
        written.append(path)
    return written
