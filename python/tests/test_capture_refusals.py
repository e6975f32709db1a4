"""What recording inside of transformers refuses before the model runs, or as soon as it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kvtape
import numpy as np
import pytest
from test_capture import NEEDS_TORCH, NEEDS_TRANSFORMERS, PROMPT, small

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)


def must_not_run(*_: Any) -> None:
    raise AssertionError("the model ran")


PLACES = r"a list of pieces of the prompt or of ranges \(begin, end\) of its characters"
PLACE = r"a piece of the prompt or a range \(begin, end\) of its characters"
BAD_ARGUMENTS = [
    ({"prompt": 5}, r"prompt is 5, expected text \(str\)"),
    ({"prompt": ""}, "prompt is empty, expected the text that a policy compresses"),
    ({"prompt": "", "question": "Where?"}, "prompt is empty"),
    ({"prompt": "ab \ud800"}, r"prompt holds U\+D800 at character 3, half of a surrogate pair"),
    ({"question": None}, r"question is None, expected text \(str\)"),
    ({"answer": None}, r"answer is None, expected text \(str\)"),
    ({"answer": "\udfff"}, r"answer holds U\+DFFF at character 0"),
    ({"task": "all"}, 'task is "all", which the tables use for all tasks together; give it another name'),
    ({"task": 3}, r"task is 3, expected text \(str\)"),
    ({"seed": -1}, "seed is -1, expected a whole number from 0 to 18446744073709551615"),
    ({"seed": 2**64}, "seed is 18446744073709551616, expected"),
    ({"seed": 1.5}, r"seed is 1\.5, expected a whole number"),
    ({"max_new_tokens": -1}, "max_new_tokens is -1, expected a whole number from 0"),
    ({"max_new_tokens": True}, "max_new_tokens is True, expected a whole number"),
    ({"needles": [5]}, f"needles hold 5, expected {PLACE}"),
    ({"needles": [(0.5, 2)]}, rf"needles hold \(0\.5, 2\), expected {PLACE}"),
    ({"needles": [(1, 2, 3)]}, r"needles hold \(1, 2, 3\)"),
    ({"needles": "here"}, f"needles is 'here', expected {PLACES}"),
    ({"distractors": 7}, f"distractors is 7, expected {PLACES}"),
    ({"distractors": ["\ud83d"]}, r"distractors holds U\+D83D"),
    ({"add_special_tokens": "no"}, "add_special_tokens is 'no', expected True or False"),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS)
def test_arguments_are_refused_before_the_model_runs(
    options: dict[str, Any], message: str, tokenizer: Any, tmp_path: Path
) -> None:
    model = small("Llama")
    model.register_forward_pre_hook(must_not_run)
    with (
        pytest.raises(kvtape.UsageError, match=message) as caught,
        kvtape.record(model, tokenizer, tmp_path / "x.h5") as tape,
    ):
        tape.generate(**{"prompt": PROMPT} | options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(tokenizer: Any, tmp_path: Path) -> None:
    with kvtape.record(small("Llama"), tokenizer, tmp_path / "x.h5") as tape:
        one = tape.generate(
            PROMPT, needles=[[np.int64(0), np.int32(9)]], seed=np.uint64(2**64 - 1), max_new_tokens=np.int8(0)
        )
    assert one.seed == 2**64 - 1 and one.generated == 0
    with kvtape.open(tmp_path / "x.h5") as trace:
        assert trace.sequences[0].seed == 2**64 - 1
        assert [span.end for span in trace.sequences[0].spans if span.kind == kvtape.SpanKind.NEEDLE]


def test_generate_belongs_inside_of_its_with(tokenizer: Any, tmp_path: Path) -> None:
    model = small("Llama")
    tape = kvtape.record(model, tokenizer, tmp_path / "x.h5")
    with pytest.raises(kvtape.UsageError, match=r"x\.h5: generate was called outside of its with"):
        tape.generate(PROMPT)
    with tape:
        tape.generate(PROMPT, max_new_tokens=0)
    model.register_forward_pre_hook(must_not_run)
    with pytest.raises(kvtape.UsageError, match="generate was called outside of its with"):
        tape.generate(PROMPT)
    with pytest.raises(kvtape.UsageError, match=r"it was finished; kvtape\.record begins another file"), tape:
        pass
    assert model.config._attn_implementation == "sdpa"


def test_what_record_is_asked_is_refused_at_once(tokenizer: Any, tmp_path: Path) -> None:
    model = small("Llama")
    for arguments, message in (
        ((None, tokenizer, tmp_path / "x.h5"), "recording a NoneType: it is no model of transformers"),
        ((model, tokenizer, 5), "path is 5, expected a path"),
        ((model, tokenizer, tmp_path), "it is a directory; name a file to write"),
        ((model, tokenizer, tmp_path / "x.h5", 64), r"queries is 64, expected text \(str\)"),
        ((model, None, tmp_path / "x.h5"), "recording with a NoneType: it is no fast tokenizer"),
    ):
        with pytest.raises(kvtape.UsageError, match=message):
            kvtape.record(*arguments)
    with pytest.raises(kvtape.FileError, match=r"there is no folder .*nowhere; make it first"):
        kvtape.record(model, tokenizer, tmp_path / "nowhere" / "x.h5")
    table = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4))
    with pytest.raises(kvtape.UsageError, match="0 of its 2 layers have an o_proj to store, expected all"):
        kvtape.record(table, tokenizer, tmp_path / "x.h5", output_projection=True)


def encoder(head: str) -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return getattr(transformers, f"Bert{head}")(transformers.BertConfig(vocab_size=1280, **shape))


def mamba() -> Any:
    config = transformers.MambaConfig(vocab_size=1280, hidden_size=32, num_hidden_layers=2, state_size=4)
    return transformers.MambaForCausalLM(config)


OTHER_MODELS = {
    "soft cap": (lambda: small("Gemma2"), "layer 0: its attention has soft-capped logits, which a trace"),
    "no attention": (
        mamba,
        "MambaForCausalLM: 0 of its 2 layers attended through AttentionInterface; a model",
    ),
    "no text": (lambda: encoder("Model"), "BertModel: it does not write text; load it with AutoModelFor"),
    "encoder": (
        lambda: encoder("LMHeadModel"),
        "layer 0: its tokens attend to later ones|0 of its 2 layers attended through AttentionInterface",
    ),
}


@pytest.mark.parametrize("kind", OTHER_MODELS)
def test_models_that_a_trace_cannot_hold_are_refused_in_one_line(
    kind: str, tokenizer: Any, tmp_path: Path
) -> None:
    make, message = OTHER_MODELS[kind]
    model = make().eval()
    before = model.config._attn_implementation
    with (
        pytest.raises(kvtape.UsageError, match=message) as caught,
        kvtape.record(model, tokenizer, tmp_path / "x.h5") as tape,
    ):
        tape.generate(PROMPT, max_new_tokens=2)
    assert "\n" not in str(caught.value)
    assert model.config._attn_implementation == before
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not transformers.__version__.startswith("4."), reason="transformers 5 reads them")
def test_rotations_that_an_old_transformers_leaves_out_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    same = small("Llama", rope_theta=5e5, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    kvtape.record(same, tokenizer, tmp_path / "x.h5")
    for stated in ({"rope_type": "default", "rope_theta": 5e5}, {"rope_type": "linear", "factor": 2.0}):
        with pytest.raises(
            kvtape.UsageError, match=r"has rope_parameters, which transformers 4\..* does not read"
        ):
            kvtape.record(small("Llama", rope_parameters=stated), tokenizer, tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        ("float16", "load it in bfloat16 or float32"),
        ("bfloat16", "load it in float32"),
        ("float32", "check its"),
    ],
)
def test_a_model_that_computes_nan_is_told_so(
    dtype: str, remedy: str, tokenizer: Any, tmp_path: Path
) -> None:
    """As float16 does beyond 65504: infinities, then their differences."""
    model = small("Llama").to(getattr(torch, dtype))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(torch.inf)
    expected = f"LlamaForCausalLM: the model computed NaN in {dtype}, .* {remedy}"
    with (
        pytest.raises(kvtape.UsageError, match=expected),
        kvtape.record(model, tokenizer, tmp_path / "x.h5") as tape,
    ):
        tape.generate(PROMPT, max_new_tokens=2)
    assert not list(tmp_path.iterdir())
