"""Formulas: from LaTeX, and from the plain text of docstrings, to MathML.

Browsers typeset MathML themselves, so the site needs no script and no fonts for it.
"""

from __future__ import annotations

import re

from docutils.utils.math.latex2mathml import tex2mathml

__all__ = ["latex", "mathml"]

# LaTeX that docutils does not know, in words that it does.
_REWRITTEN = {
    r"\\(Big|big|Bigg|bigg)[lr]?(?![a-zA-Z])": "",
    r"\\tfrac(?![a-zA-Z])": r"\\frac",
    r"\\dfrac(?![a-zA-Z])": r"\\frac",
    r"\\Longrightarrow": r"\\Rightarrow",
    r"\\dots(?![a-zA-Z])": r"\\ldots",
    r"\\[;,!:]": " ",
    r"\\le(?![a-zA-Z])": r"\\leq",
    r"\\ge(?![a-zA-Z])": r"\\geq",
    r"\\frac\s*(\d)\s*(\d)": r"\\frac{\1}{\2}",
    r"\\frac\s*(\d)\s*([A-Za-z])": r"\\frac{\1}{\2}",
}

_GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "lambda"),
    *("mu", "nu", "rho", "sigma", "tau", "phi", "omega"),
)
_LETTERS = dict(zip("αβγδεηθλμνρστφω", _GREEK, strict=True)) | {"Φ": "Phi", "Σ": "sum", "π": "pi"}
_SPELLED = {name: f"\\{name} " for name in _GREEK} | {"eps": r"\epsilon "}
_FUNCTIONS = {
    *("exp", "log", "max", "min", "sqrt", "sign", "mean", "sum", "var"),
    *("tanh", "sinh", "cosh", "erf", "softmax"),
}
_SYMBOLS = {
    **{sign: f"\\{name} " for sign, name in _LETTERS.items()},
    "·": r"\cdot ",
    "*": r"\cdot ",
    "×": r"\times ",
    "⊙": r"\odot ",
    "−": "-",
    "≤": r"\leq ",
    "≥": r"\geq ",
    "≠": r"\neq ",
    "≈": r"\approx ",
    "∈": r"\in ",
    "∂": r"\partial ",
    "∞": r"\infty ",
    "…": r"\ldots ",
    "∗": r"\ast ",
    "→": r"\to ",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "′": "'",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "∘": r"\circ ",
    "⊤": r"\top ",
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢⱼₖₜ", "0123456789+-nijkt")


def mathml(formula: str, as_block: bool = False) -> str:
    """Return a LaTeX formula as MathML.

    Parameters
    ----------
    formula : str
        Without dollars.
    as_block : bool, default False
        Whether it stands on a line of its own.

    Returns
    -------
    str
        A ``<math>`` element.
    """
    formula = formula.strip()
    for old, new in _REWRITTEN.items():
        formula = re.sub(old, new, formula)
    if as_block and (r"\\" in formula or "&" in formula) and r"\begin" not in formula:
        formula = rf"\begin{{aligned}} {formula} \end{{aligned}}"
    return str(tex2mathml(formula, as_block=as_block))


def latex(text: str) -> str:
    r"""Return a formula as a docstring writes it, such as ``Y = X Wᵀ + b``, as LaTeX.

    Parameters
    ----------
    text : str
        In letters, Greek ones and signs; names of more than one letter are set upright.

    Returns
    -------
    str
        The same in LaTeX.

    Examples
    --------
    >>> latex("Y = X Wᵀ + b")
    'Y = X W^{\\top} + b'
    >>> latex("∂L/∂x_i = Σ_j delta_j")
    '\\frac{\\partial L}{\\partial x_{i}} = \\sum _{j} \\delta _{j}'
    """
    text = re.sub(r"∂²?(\w+)\s*/\s*∂(\w+)", lambda found: _fraction(*found.groups()), text)
    return re.sub(r"\s+", " ", _written(text)).strip()


def _fraction(above: str, below: str) -> str:
    return f"\x00{above}\x01{below}\x02"


_TOKEN = re.compile(
    r"\x00(?P<above>\w+)\x01(?P<below>\w+)\x02"
    "|(?P<hat>\\w)\u0302"
    r"|√\((?P<root>(?:[^()]|\([^()]*\))*)\)"
    r"|√(?P<small_root>\w+)"
    r"|(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+|ᵀ)"
    r"|(?P<lowered>[₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢⱼₖₜ]+)"
    r"|\*\*(?P<power>\w+)"
    r"|(?P<name>[A-Za-zα-ωΑ-Ω][A-Za-z0-9α-ωΑ-Ω]*(?:_[A-Za-z0-9α-ω]+)*)(?P<index>\[[^\[\]]*\])?"
    r"|(?P<sub>_[A-Za-z0-9]+|_\{[^}]*\}|_\([^()]*\))"
    r"|(?P<other>.)",
    re.DOTALL,
)


def _written(text: str) -> str:
    return "".join(_token(found) for found in _TOKEN.finditer(text))


def _token(found: re.Match[str]) -> str:
    part = found.groupdict()
    if part["above"]:
        return rf"\frac{{\partial {_name(part['above'])}}}{{\partial {_name(part['below'])}}}"
    if part["hat"]:
        return rf"\hat{{{_name(part['hat'])}}}"
    if part["root"] or part["small_root"]:
        return rf"\sqrt{{{_written(part['root'] or part['small_root'])}}}"
    if part["raised"]:
        raised = r"\top" if part["raised"] == "ᵀ" else part["raised"].translate(_RAISED)
        return f"^{{{raised}}}"
    if part["lowered"]:
        return f"_{{{part['lowered'].translate(_LOWERED)}}}"
    if part["power"]:
        return f"^{{{_written(part['power'])}}}"
    if part["name"]:
        index = part["index"]
        inside = f"_{{{_written(index[1:-1])}}}" if index else ""
        return _name(part["name"]) + inside
    if part["sub"]:
        return f"_{{{_written(part['sub'].lstrip('_').strip('{}()'))}}}"
    return _SYMBOLS.get(part["other"], part["other"])


def _name(name: str) -> str:
    """Write a name: one letter as it is, with what is below it; longer ones upright."""
    base, *below = name.split("_")
    if name in _FUNCTIONS:
        return rf"\operatorname{{{name}}}"
    if below and base in _FUNCTIONS:  # such as max_i
        return rf"\operatorname{{{base}}}_{{{', '.join(below)}}}"
    if below and re.fullmatch("d[A-Za-z]", base):  # a gradient, such as dW_hh
        return rf"\mathrm{{d}}{base[1]}_{{{', '.join(map(_name, below))}}}"
    if below and len(base) > 1 and base not in _SPELLED and base not in _LETTERS:
        return r"\mathrm{" + name.replace("_", r"\_") + "}"
    if base in _SPELLED:
        written = _SPELLED[base]
    elif base in _LETTERS:
        written = _SYMBOLS[base]
    elif len(base) == 1:
        written = base
    elif all(letter in _LETTERS or letter.isdigit() for letter in base):
        written = "".join(_SYMBOLS.get(letter, letter) for letter in base)
    elif base[0].isalpha() and base[1:].isdigit():
        written = f"{base[0]}_{{{base[1:]}}}"
    else:
        written = rf"\mathrm{{{base}}}"
    return written + (f"_{{{', '.join(_name(part) for part in below)}}}" if below else "")
