"""Reads a campaign file; an error names the file, the line, the key, the value and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from al_engine.config import XTB, ASECalculator, CampaignConfig, FileLabels
from al_engine.errors import ConfigError, InputError
from al_engine.samplers import KINDS
from al_engine.section import Section

MAX_CONFIG_BYTES = 1_000_000
MAX_NODES = 100_000

_REFERENCES: tuple[type[Section], ...] = (XTB, ASECalculator, FileLabels)
_TAGS: dict[int | str, type[Section]] = {
    section.model_fields["kind"].default: section for section in (*_REFERENCES, *KINDS)
}
"""pydantic names the chosen variant in the path of an error; the file does not."""

PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "default": {},
    "accurate": {
        "model": {"n_channels": 64},
        "training": {"n_steps": 20_000, "batch_size": 4, "learning_rate": 0.01},
    },
}


def load_config(path: str | Path) -> CampaignConfig:
    """Read and check a campaign file.

    Raises:
        ConfigError: One line that names file, line, key, value and what is allowed.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                file=str(file), line=None, key="size", value=file.stat().st_size,
                allowed=f"a campaign file has at most {MAX_CONFIG_BYTES} bytes",
            )  # fmt: skip
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            file=str(file), line=None, key="file", value=file.name,
            allowed=f"a readable YAML file is needed ({type(error).__name__})",
        ) from None  # fmt: skip
    return parse_config(text, str(file))


def parse_config(text: str, source: str) -> CampaignConfig:
    """Check the text of a campaign file; `source` names it in errors."""
    try:
        tree = YAML(typ="rt").load(text)
        plain = _plain(tree)
    except (YAMLError, ValueError, RecursionError, KeyError) as error:  # KeyError: an unknown YAML version
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        lines = text.splitlines()
        line = mark.line + 1 if mark is not None else None
        shown = lines[line - 1].strip() if line is not None and line <= len(lines) else ""
        twice = isinstance(error, DuplicateKeyError)
        raise ConfigError(
            file=source, line=line, key="syntax", value=shown,
            allowed="duplicate key: give it once" if twice else "valid YAML is needed",
        ) from None  # fmt: skip
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            file=source, line=1, key="file", value=text[:40], allowed="keys and values are needed"
        )
    try:
        return CampaignConfig.model_validate_json(json.dumps(_with_preset(plain), default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        loc = [part for part in first["loc"] if part not in _TAGS]
        raise ConfigError(
            file=source, line=_line(tree, loc), key=".".join(map(str, loc)) or "file",
            value=first["input"] if first["type"] != "missing" else None,
            allowed=_allowed(first["type"], first["msg"], first["loc"]),
        ) from None  # fmt: skip


def located(error: InputError, path: str | Path) -> ConfigError:
    """Return the error with the line and the value that its key has in this campaign file."""
    file = Path(path)
    tree = YAML(typ="rt").load(file.read_text(encoding="utf-8"))
    value: Any = _plain(tree)
    for part in error.key:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
    key = ".".join(map(str, error.key))
    return ConfigError(
        file=str(file),
        line=_line(tree, list(error.key)),
        key=key,
        value=value,
        allowed=str(error).removeprefix(f"{key} = {value!r}: "),
    )


def _with_preset(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the preset says and the file does not."""
    preset = PRESETS.get(str(data.get("preset", "default")), {})
    for section, values in preset.items():
        given = data.get(section, {})
        if isinstance(given, dict):
            data[section] = {**values, **given}
    return data


def _plain(node: Any, depth: int = 0, budget: list[int] | None = None) -> Any:
    """Turn ruamel's containers into plain ones; aliases that grow without end are refused."""
    budget = [MAX_NODES] if budget is None else budget
    budget[0] -= 1
    if depth > 20 or budget[0] < 0:
        raise ValueError("too large or nested too deep")
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value, depth + 1, budget) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value, depth + 1, budget) for value in node]
    return node


def _line(tree: CommentedMap, loc: list[int | str]) -> int:
    """Return the line of the deepest key along `loc` that the file has, counted from 1."""
    node: Any = tree
    line = 1
    for part in loc:
        try:
            if isinstance(node, CommentedMap):
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq):
                line = node.lc.item(part)[0] + 1
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line


def _allowed(kind: str, message: str, loc: tuple[int | str, ...]) -> str:
    """Say what is allowed; for an unknown key, the known ones."""
    if kind != "extra_forbidden":
        return message[0].lower() + message[1:]
    model: Any = CampaignConfig
    for part in loc[:-1]:
        if part in _TAGS:
            model = _TAGS[part]
        elif isinstance(part, str):
            model = _section(model.model_fields[part].annotation) or model
    return "unknown key; allowed are " + ", ".join(sorted(model.model_fields))


def _section(annotation: Any) -> type[Section] | None:
    """Return the first section class in an annotation such as `tuple[System, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = [s for a in getattr(annotation, "__args__", ()) if (s := _section(a)) is not None]
    return inner[0] if inner else None
