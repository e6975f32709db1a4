"""`kvtape.record`: a transformers model writes its run into a trace.

Attention goes through the registries of transformers: AttentionInterface calls our function with
queries and keys after rotary embedding and the whole cache, AttentionMaskInterface keeps masks
causal under our name. The function attends by SDPA and never asks for attention matrices:
log-sum-exps and column sums come from a second pass over blocks of queries.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from kvtape.arguments import expect_path
from kvtape.capture.arguments import Asked, Place, read_arguments
from kvtape.capture.layer import LayerTape, as_array, expect_plain, rows_of
from kvtape.capture.model import (
    describe,
    device_of,
    expect_decoder,
    last_logits,
    positions_warning,
    projection_layers,
    stop_tokens,
    text_config,
)
from kvtape.capture.prompt import Prompt, Tokenizer, is_right, tokenize
from kvtape.errors import FileError, UsageError
from kvtape.records import SequenceInfo, Span, SpanKind
from kvtape.writer import TraceWriter

_NAME = "kvtape"
_LOGITS_KEPT = 20


class Tape:
    """A recording under way: every `generate` adds a sequence to the file."""

    fingerprint: str = ""  #: of the finished file

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        path: str | os.PathLike[str],
        last_queries: int | None,
        output_projection: bool = False,
        overwrite: bool = False,
    ) -> None:
        """`last_queries` of the context are stored, all where it is None."""
        _expect_writable(path, overwrite)
        expect_decoder(model)
        if output_projection:
            projection_layers(model)
        self._model = model
        self._tokenizer = Tokenizer(tokenizer)
        self._path = path
        self._last_queries = last_queries
        self._output_projection = output_projection
        self._overwrite = overwrite
        self._writer: TraceWriter | None = None
        self._layers: dict[int, LayerTape] = {}
        self._prompt: Prompt | None = None
        self._under_way = False

    def __enter__(self) -> Tape:
        if self._writer is not None:
            raise UsageError(
                f"recording into {os.fspath(self._path)}: it was finished; kvtape.record begins another file"
            )
        self._before = self._model.config._attn_implementation
        self._was_training = self._model.training
        if self._before == _NAME:
            raise UsageError(f"recording {type(self._model).__name__}: another recording of it is under way")
        _register(self._attend)
        self._model.eval()
        _switch(self._model, _NAME)
        self._under_way = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._under_way = False
        _switch(self._model, self._before)
        self._model.train(self._was_training)
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
            self.fingerprint = self._writer.fingerprint
        elif kind is None:
            raise UsageError(
                f"recording into {os.fspath(self._path)}: nothing was generated; call generate first"
            )

    def generate(
        self,
        prompt: str,
        question: str = "",
        *,
        needles: Iterable[Place] = (),
        distractors: Iterable[Place] = (),
        answer: str = "",
        task: str = "",
        seed: int = 0,
        max_new_tokens: int = 96,
        add_special_tokens: bool = True,
    ) -> SequenceInfo:
        """Lets the model continue `prompt + question` greedily and records the run.

        `prompt` is the context that a policy compresses, `question` what follows it, both exactly
        as the model reads them, chat template included. Needles, what the answer follows from, and
        distractors are pieces of the prompt or ranges (begin, end) of its characters. The answer is
        right when what is generated holds `answer`. Where prompt and answer may become longer than
        the positions the model was trained for, a UserWarning says so. Returns the sequence, as the
        trace holds it.
        """
        asked = read_arguments(
            prompt,
            question,
            needles,
            distractors,
            seed,
            max_new_tokens,
            answer=answer,
            task=task,
            add_special_tokens=add_special_tokens,
        )
        return self._record(asked)

    def _record(self, asked: Asked) -> SequenceInfo:
        if not self._under_way:
            raise UsageError(
                f"recording into {os.fspath(self._path)}: generate was called outside of its with; write "
                "with kvtape.record(...) as tape: tape.generate(...)"
            )
        read = tokenize(self._tokenizer, asked)
        beyond = positions_warning(self._model, len(read.tokens) + asked.max_new_tokens)
        if beyond:
            warnings.warn(beyond, stacklevel=3)
        first = 0 if self._last_queries is None else max(0, read.context_len - self._last_queries)
        self._layers = {}
        self._prompt = read
        self._first_query = first
        with torch.inference_mode():
            tokens, logits, ids = self._greedy(read.tokens, asked.max_new_tokens)
        layers = self._complete(len(read.tokens) + len(tokens))
        sequence = dataclasses.replace(
            self._describe(read, tokens, asked.answer),
            query_positions=rows_of(len(read.tokens) + len(tokens), first),
            logits_top=logits,
            logits_top_ids=ids,
            task=asked.task,
            seed=asked.seed,
            device=device_of(self._model),
        )
        self._open_writer(layers).add(sequence, (layer.tensors() for layer in layers))
        self._layers = {}
        return sequence

    def _attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **extra: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention as SDPA computes it; [1, heads, rows, D] in, [1, rows, heads, D] out."""
        number = module.layer_idx
        expect_plain(module, query, key, value, extra)
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **extra)
        if self._prompt is not None:
            layer = self._layers.setdefault(
                number, LayerTape(number, self._prompt.context_len, self._first_query)
            )
            scale = extra.get("scaling")
            scale = query.shape[-1] ** -0.5 if scale is None else float(scale)
            layer.take(query[0], key[0], value[0], output[0], scale, extra.get("sliding_window"))
        return output, None

    def _greedy(self, prompt: list[int], limit: int) -> tuple[list[int], Any, Any]:
        """Tokens, and for each the largest logits [K] and their ids; every token is fed back."""
        accepted = inspect.signature(self._model.forward).parameters
        last_alone = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        stops = stop_tokens(self._model)
        fed = torch.tensor([prompt], device=self._model.device)
        cache = None
        tokens: list[int] = []
        values, ids = [], []
        while True:
            done = self._model(input_ids=fed, past_key_values=cache, use_cache=True, **last_alone)
            self._complete(len(prompt) + len(tokens))
            last = last_logits(self._model, done)
            if len(tokens) == limit:
                break
            logits, order = torch.sort(last, descending=True, stable=True)
            token = int(order[0])
            if token in stops:
                break
            tokens.append(token)
            values.append(logits[:_LOGITS_KEPT].cpu().numpy())
            ids.append(order[:_LOGITS_KEPT].cpu().numpy())
            cache, fed = done.past_key_values, torch.tensor([[token]], device=self._model.device)
        width = min(_LOGITS_KEPT, text_config(self._model).vocab_size)
        shape = (len(tokens), width)
        return (
            tokens,
            np.array(values, np.float32).reshape(shape),
            np.array(ids, np.int32).reshape(shape),
        )

    def _describe(self, read: Prompt, tokens: list[int], answer: str) -> SequenceInfo:
        pieces = read.pieces + self._tokenizer.pieces_of(read.tokens, tokens)
        generated = self._tokenizer.text_of(tokens)
        spans = list(read.spans)
        length = len(read.tokens) + len(tokens)
        if tokens:
            spans.append(Span(SpanKind.ANSWER, len(read.tokens), length, 0))
        return SequenceInfo(
            tokens=np.array(read.tokens + tokens, np.int32),
            prompt_len=len(read.tokens),
            context_len=read.context_len,
            text=b"".join(pieces),
            text_offsets=np.cumsum([0, *map(len, pieces)], dtype=np.int64),
            spans=spans,
            answer=answer,
            generated_text=generated,
            correct=int(is_right(generated, answer)) if answer else -1,
        )

    def _complete(self, length: int) -> list[LayerTape]:
        expected = text_config(self._model).num_hidden_layers
        name = type(self._model).__name__
        if sorted(self._layers) != list(range(expected)):
            raise UsageError(
                f"recording {name}: {len(self._layers)} of its {expected} layers attended through "
                "AttentionInterface; a model without attention, or with attention of its own, cannot be "
                "recorded"
            )
        layers = [self._layers[number] for number in range(expected)]
        for layer in layers:
            if layer.length != length:
                raise UsageError(
                    f"recording {name}: layer {layer.number} attended over {layer.length} tokens, "
                    f"expected {length}"
                )
        return layers

    def _open_writer(self, layers: list[LayerTape]) -> TraceWriter:
        if self._writer is None:
            self._writer = TraceWriter(self._path, describe(self._model, layers), self._overwrite)
            if self._output_projection:
                self._write_projections(self._writer)
        return self._writer

    def _write_projections(self, writer: TraceWriter) -> None:
        for number, weights in enumerate(projection_layers(self._model)):
            writer.write_output_projection(number, as_array(weights))


def _expect_writable(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuses before the model runs what would be refused after it."""
    expect_path("recording a model", "path", path)
    doing = f"recording into {os.fspath(path)}"
    if Path(path).is_dir():
        raise UsageError(f"{doing}: it is a directory; name a file to write")
    if Path(path).exists() and not overwrite:
        raise UsageError(f"{doing}: it exists; overwrite=True replaces it")
    if not Path(path).parent.is_dir():
        raise FileError(f"{doing}: there is no folder {Path(path).parent}; make it first")


def _register(attend: Any) -> None:
    """Under our name, with SDPA's mask: without one, causality would be lost."""
    AttentionInterface.register(_NAME, attend)
    try:
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    except ImportError:
        return  # releases before it build the whole mask for a name they do not know
    AttentionMaskInterface.register(_NAME, sdpa_mask)


def _switch(model: Any, name: str) -> None:
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation(name)
    else:
        model.config._attn_implementation = name
