"""Times prompt processing of a checkpoint by transformers on torch CPU, float32.

Prints one JSON object like `kvtape bench prompt`. The whole prompt goes through in one call with a
cache, as generation does; only the last logits are computed.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", required=True)
    options.add_argument("--tokens", type=int, default=4096)
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    ids = torch.randint(0, model.config.vocab_size, (1, given.tokens))

    seconds = []
    with torch.no_grad():
        for repetition in range(given.repetitions + 1):
            begin = time.perf_counter()
            model(ids, use_cache=True, logits_to_keep=1)
            if repetition > 0:
                seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "bench": "transformers prompt",
                "attention": model.config._attn_implementation,
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
