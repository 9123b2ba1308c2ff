"""What `export_model` is told of a model, as JSON holds it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tfpvae.errors import ExportError


def json_of_about(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings by name.

    Raises:
        ExportError: they hold what JSON does not.
    """
    try:
        return json.loads(json.dumps(dict(about or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ExportError(f"about must be settings by name that JSON can hold: {error}. Received: {about!r}") from error


def json_of_metrics(metrics: Mapping[str, float] | None) -> dict[str, float | None]:
    """The numbers by name; None for those that are not finite, which JSON does not have.

    Raises:
        ExportError: they are no numbers.
    """
    try:
        numbers = {str(name): float(value) for name, value in dict(metrics or {}).items()}
    except (TypeError, ValueError) as error:
        raise ExportError(f"metrics must be numbers by name: {error}. Received: {metrics!r}") from error
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
