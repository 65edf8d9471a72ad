"""What the source of nfft says without being run: its rooms, their order, and its errors."""

import ast
import re
import tomllib
from pathlib import Path

from forms import as_table, escaped

import nfft

PACKAGE = Path(nfft.__file__).parent
REPOSITORY = PACKAGE.parent


def rooms() -> str:
    """Every module under its room, with the first line of its docstring."""
    parts = []
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        name = folder.relative_to(REPOSITORY).as_posix()
        rows = [
            [f"`{path.name}`", _first_line(path)]
            for path in sorted(folder.glob("*.py"))
            if path.name not in ("__init__.py", "__main__.py")
        ]
        parts += [f"### {name}/", _first_line(folder / "__init__.py"), as_table(["file", "what is in it"], rows)]
    return "\n\n".join(part for part in parts if part)


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def layers() -> str:
    """The order of the rooms, from the top, as import-linter keeps it."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = content["tool"]["importlinter"]["contracts"]
    (order,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return "```text\n" + "\n".join(line.replace("nfft.", "") for line in order) + "\n```"


def errors() -> str:
    """Every sentence of an error, by the room that it is from; what differs each time is an ellipsis."""
    parts = []
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        sentences = [sentence for path in sorted(folder.glob("*.py")) for sentence in sentences_of(path)]
        if sentences:
            name = folder.relative_to(REPOSITORY).as_posix()
            parts += [f"### {name}/", "\n".join(f"- {escaped(sentence)}" for sentence in dict.fromkeys(sentences))]
    return "\n\n".join(parts)


def sentences_of(path: Path) -> list[str]:
    """Sentences with which a module raises a UserError."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    texts = [call.args[0] for call in sorted(calls, key=lambda call: call.lineno) if _is_error(call)]
    # A choice between two sentences is both.
    ways = [way for text in texts for way in ((text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,))]
    return [sentence for sentence in map(_sentence, ways) if re.search(r"\w{3}", sentence)]


def _is_error(call: ast.Call) -> bool:
    """Whether a call makes an error for people, or is the constructor of a kind of them."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return bool(call.args) and (name in ("UserError", "LocalError") or name == "__init__")


def _sentence(node: ast.expr) -> str:
    """The text of an expression, with … for what differs each time."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("\n", " ")
    if isinstance(node, ast.JoinedStr):
        return re.sub("…+", "…", "".join(map(_sentence, node.values))).strip()
    if isinstance(node, ast.FormattedValue) and getattr(getattr(node.value, "func", None), "id", "") == "nearest":
        return "did you mean …?"
    return "…"
