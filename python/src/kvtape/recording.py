"""The door to `kvtape.capture`, which needs torch and transformers."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, Any

from kvtape.arguments import expect_text
from kvtape.errors import UsageError

if TYPE_CHECKING:
    from kvtape.capture.tape import Tape


def record(
    model: Any,
    tokenizer: Any,
    path: str | os.PathLike[str],
    queries: str = "last=64",
    output_projection: bool = False,
    overwrite: bool = False,
) -> Tape:
    """Records what a model of transformers computes into a trace.

    >>> with kvtape.record(model, tokenizer, "out.kvtape.h5") as tape:
    ...     tape.generate(context, question, needles=["The pass key is 12345."], answer="12345")

    `queries` says which queries of the context are stored: `last=N` or `all`; those of question and
    answer always are (`last=64,question` says so). `output_projection` also stores the matrix
    behind attention. The model keeps its attention implementation after the `with`.
    """
    kept = parse_queries(queries)
    for module in ("torch", "transformers"):
        try:
            importlib.import_module(module)
        except ImportError:
            raise UsageError(
                f"recording a model: {module} is not installed; pip install torch transformers"
            ) from None
    from kvtape.capture.tape import Tape

    return Tape(model, tokenizer, path, kept, output_projection, overwrite)


def parse_queries(text: str) -> int | None:
    """How many of the context's last queries to store; None for all."""
    expect_text("recording a model", "queries", text)
    words = [word.strip() for word in text.split(",")]
    chosen = [word for word in words if word != "question"]
    found = re.fullmatch(r"last=([0-9]{1,9})", chosen[0]) if len(chosen) == 1 else None
    if chosen == ["all"]:
        return None
    if found is None and chosen:
        raise UsageError(
            f"recording with queries='{text[:60]}': expected last=N or all, such as last=64,question"
        )
    return int(found[1]) if found else 0
