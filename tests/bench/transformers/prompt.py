"""Times prompt processing of a checkpoint by transformers.

Prints one JSON object like `kvtape bench prompt`. The whole prompt goes through in one call with a
cache, as generation does; only the last logits are computed. With --attentions it also gets what a
recording holds, the way it is commonly done: eager attention that returns its weights, hooks that
copy the projections, column sums and log of the largest weight from the T x T matrices.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM


class Hooks:
    """Copies of every query, key and value projection on the host."""

    def __init__(self, model):
        self.copies = []
        for module in model.modules():
            if all(hasattr(module, name) for name in ("q_proj", "k_proj", "v_proj")):
                for name in ("q_proj", "k_proj", "v_proj"):
                    getattr(module, name).register_forward_hook(self.keep)

    def keep(self, module, inputs, output):
        self.copies.append(output.to("cpu"))


def record(model, ids, hooks):
    hooks.copies.clear()
    found = model(ids, use_cache=True, logits_to_keep=1, output_attentions=True)
    return [
        (weights.float().sum(dim=2).to("cpu"), weights.float().amax(dim=3).log().to("cpu"))
        for weights in found.attentions
    ]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", required=True)
    options.add_argument("--tokens", type=int, default=4096)
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    options.add_argument("--attentions", action="store_true", help="record as is commonly done")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    attention = {"attn_implementation": "eager"} if given.attentions else {}
    model = AutoModelForCausalLM.from_pretrained(
        given.model, dtype=getattr(torch, given.dtype), **attention
    )
    model = model.eval().to(given.device)
    ids = torch.randint(0, model.config.vocab_size, (1, given.tokens)).to(given.device)
    hooks = Hooks(model) if given.attentions else None

    seconds = []
    with torch.no_grad():
        for repetition in range(given.repetitions + 1):
            begin = time.perf_counter()
            if hooks:
                record(model, ids, hooks)
            else:
                model(ids, use_cache=True, logits_to_keep=1)
            if given.device == "cuda":
                torch.cuda.synchronize()
            if repetition > 0:
                seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "bench": "transformers prompt",
                "attention": model.config._attn_implementation,
                "device": given.device,
                "dtype": given.dtype,
                "records": given.attentions,
                "seconds": statistics.median(seconds),
                "fastest": min(seconds),
                "slowest": max(seconds),
                "repetitions": given.repetitions,
                "threads": given.threads,
                "tokens": given.tokens,
                "tokens_per_second": given.tokens / statistics.median(seconds),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
