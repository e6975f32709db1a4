"""Small random models, recorded by transformers and by the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import kvtape
import numpy as np
import pytest
from conftest import CHECKPOINT, Program
from test_capture import NEEDS_TORCH, NEEDS_TRANSFORMERS, PROMPT, small

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)


@pytest.mark.parametrize("kind", ["default", "dynamic", "linear"])
def test_rope_is_described_as_the_program_does(
    kind: str, tokenizer: Any, tmp_path: Path, program: Program
) -> None:
    """With what the configuration says of it, and the frequencies that were used."""
    folder, prompts = tmp_path / kind, tmp_path / "prompts.jsonl"
    stated = {"rope_type": kind, "rope_theta": 5000.0} | ({} if kind == "default" else {"factor": 2.0})
    old = transformers.__version__.startswith("4.")
    given = {"rope_scaling": stated, "rope_theta": 5000.0} if old else {"rope_parameters": stated}
    small("Llama", **given).save_pretrained(folder)
    shutil.copy(CHECKPOINT / "tokenizer.json", folder)
    prompts.write_text(json.dumps({"context": PROMPT, "question": "Where?"}))
    options = ["--max-new-tokens", 2, "--device", "cpu", "--quiet"]
    program("record", "--model", folder, "--prompts", prompts, *options, "--out", tmp_path / "a.h5")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    for again, name in ((model, "b.h5"), (small("Llama", **given), "c.h5")):
        with kvtape.record(again, tokenizer, tmp_path / name) as tape:
            tape.generate(PROMPT, max_new_tokens=2)
        with kvtape.open(tmp_path / "a.h5") as ours, kvtape.open(tmp_path / name) as theirs:
            expected, found = ours.info.rope_values(), theirs.info.rope_values()
            assert found["scaling"]["rope_type"] == kind
            assert np.allclose(found.pop("inv_freq"), expected.pop("inv_freq"), rtol=1e-6)
            assert found == expected


@pytest.mark.parametrize("decoder", ["ByteLevel", "Sequence"])
def test_ids_that_the_tokenizer_lacks_are_no_text(decoder: str, tmp_path: Path, program: Program) -> None:
    """Vocabularies of models are padded beyond those of their tokenizers."""
    from tokenizers import Tokenizer, decoders

    backend = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    if decoder == "Sequence":
        backend.decoder = decoders.Sequence([decoders.ByteLevel()])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    model = small("Llama", vocab_size=1300, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight[:1290].zero_()
        model.lm_head.weight[1290] = 1
        model.lm_head.weight[1291:] = -1
    with kvtape.record(model, tokenizer, tmp_path / "x.h5") as tape:
        one = tape.generate(PROMPT, "Where?", needles=["12345"], answer="12345", max_new_tokens=8)
    assert {1290} <= set(one.tokens[one.prompt_len :].tolist()) <= {1290, 1291, 0}
    assert backend.id_to_token(1290) is None
    assert one.generated_text == backend.decode(one.tokens[one.prompt_len :].tolist())
    assert one.text.decode().endswith("Where?" + one.token_text(one.prompt_len, one.length))
    assert one.token_text(one.prompt_len) == "" or one.tokens[one.prompt_len] != 1290
    assert one.correct == 0
    program("check", tmp_path / "x.h5")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_both_stop_at_the_same_tokens(written: int, tokenizer: Any, tmp_path: Path, program: Program) -> None:
    """At those of config.json and of generation_config.json together: chat models name a second one there."""
    folder, prompts = tmp_path / "model", tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"context": PROMPT, "question": "Where?"}))
    options = ["--prompts", prompts, "--max-new-tokens", 6, "--device", "cpu", "--quiet"]
    model = small("Llama", eos_token_id=1)
    model.save_pretrained(folder)
    shutil.copy(CHECKPOINT / "tokenizer.json", folder)
    program("record", "--model", folder, *options, "--out", tmp_path / "free.h5")
    with kvtape.open(tmp_path / "free.h5") as free:
        plain = free.sequences[0].tokens[free.sequences[0].prompt_len :].tolist()
    # The token that came after `written` others now ends the answer.
    assert plain.index(plain[written]) == written, "the model repeats itself; choose another seed"
    model.generation_config.eos_token_id = [1279, plain[written]]
    model.save_pretrained(folder)
    program("record", "--model", folder, *options, "--out", tmp_path / "a.h5")
    with kvtape.open(tmp_path / "a.h5") as ours:
        one = ours.sequences[0]
        asked = "<s>" + one.token_text(1, one.context_len), one.token_text(one.context_len, one.prompt_len)
        again = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        with kvtape.record(again, tokenizer, tmp_path / "b.h5") as tape:
            found = tape.generate(*asked, max_new_tokens=6, add_special_tokens=False)
        assert found.generated == written
        assert np.array_equal(found.tokens, one.tokens)
