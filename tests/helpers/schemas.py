"""The schemas of docs/schemas/, as what checks an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def validator(name: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason='needs the extra test: pip install "ferkit[test]"')
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
