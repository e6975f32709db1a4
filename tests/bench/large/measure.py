"""Measures kvtape beside transformers on a checkpoint in the shape of Llama-3.2-1B: time and peak memory.

    python3 tests/bench/large/measure.py [--program build/dev/kvtape] [--python PYTHON] [--only NAME...]

Writes random weights into a temporary folder (2.5 GB) unless --model names a checkpoint, then runs, one after the other:

    prompt          kvtape bench prompt: a prompt without recording, recorded in memory, recorded into a file
    transformers    the same number of tokens in one forward of transformers by PYTHON
    record          kvtape record: a sequence of --record tokens, the queries of its last 64 tokens
    record-queries  the same with the queries of every token

Memory is what /proc says of the running process, fifty times a second: anonymous memory (what the program asked for) apart
from pages of mapped files (the weights, which the system can drop at any time). Needs Linux and Python, and for
`transformers` a Python with torch and transformers.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ALL = ["prompt", "transformers", "record", "record-queries"]


class Memory:
    """Largest anonymous and file-backed memory of a process, in GB."""

    def __init__(self, pid):
        self.anonymous = self.file = 0.0
        self.status = pathlib.Path(f"/proc/{pid}/status")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.02):
            try:
                text = self.status.read_text()
            except OSError:
                return
            for name, kilobytes in re.findall(r"^Rss(Anon|File):\s+(\d+) kB$", text, re.MULTILINE):
                gigabytes = int(kilobytes) * 1024 / 1e9
                if name == "Anon":
                    self.anonymous = max(self.anonymous, gigabytes)
                else:
                    self.file = max(self.file, gigabytes)

    def close(self):
        self.ended.set()
        self.thread.join()


def run(command):
    """Its standard output, how long it took and its memory. Progress goes to standard error."""
    print("$ " + " ".join(map(str, command)), file=sys.stderr, flush=True)
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        memory = Memory(process.pid)
        output = process.stdout.read()
        process.wait()
        memory.close()
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with exit code {process.returncode}")
    return output, time.monotonic() - begin, memory


def row(name, seconds, memory):
    print(f"{name:50s}{seconds:9.2f} s{memory.anonymous:9.2f} GB{memory.file:9.2f} GB", flush=True)


def bench_rows(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def measure_prompt(given, model, scratch):
    output, _, memory = run(
        [given.program, "bench", "prompt", "--model", model, "--prompt-tokens", str(given.tokens)]
        + ["--repetitions", str(given.repetitions), "--threads", str(given.threads), "--dtype", given.dtype]
    )
    for result in bench_rows(output):
        row(f"{result['bench']}, {given.tokens} tokens", result["seconds"], memory)


def measure_transformers(given, model, scratch):
    if not pathlib.Path(given.python).exists():
        print(f"transformers: left out, there is no {given.python}; name a Python that has it with --python")
        return
    output, _, memory = run(
        [given.python, HERE.parent / "transformers" / "prompt.py", "--model", model, "--tokens", str(given.tokens)]
        + ["--repetitions", str(given.repetitions), "--threads", str(given.threads), "--dtype", given.dtype]
    )
    for result in bench_rows(output):
        row(f"{result['bench']}, {given.tokens} tokens", result["seconds"], memory)


def measure_record(given, model, scratch, queries=()):
    out = scratch / "recorded.kvtape.h5"
    _, seconds, memory = run(
        [given.program, "record", "--model", model, "--workload", "passkey:digits=16", "--sequences", "1"]
        + ["--length", str(given.record), "--max-new-tokens", "8", "--threads", str(given.threads)]
        + ["--dtype", given.dtype, *queries, "--overwrite", "--out", out]
    )
    name = "record, all queries" if queries else "record"
    row(f"{name}, {given.record} tokens, whole command", seconds, memory)
    size = out.stat().st_size / 1e9
    print(f"{'':50s}the file has {size:.2f} GB", flush=True)
    out.unlink()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", default=ROOT / "build" / "dev" / "kvtape")
    options.add_argument("--python", default=ROOT / ".venv" / "bench-transformers" / "bin" / "python")
    options.add_argument("--model", help="a checkpoint that is there already")
    options.add_argument("--tokens", type=int, default=2048)
    options.add_argument("--record", type=int, default=8192, help="tokens of the sequence to record")
    options.add_argument("--dtype", default="bfloat16", help="of activations and cache, on both sides")
    options.add_argument("--repetitions", type=int, default=1)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="NAME")
    given = options.parse_args()
    steps = {
        "prompt": measure_prompt,
        "transformers": measure_transformers,
        "record": measure_record,
        "record-queries": lambda *all: measure_record(*all, queries=("--queries", "all")),
    }
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        model = given.model
        if model is None:
            model = scratch / "llama-1b"
            run([sys.executable, HERE / "make_checkpoint.py", model, "--shape", "llama-3.2-1b"])
        print(f"{'':50s}{'time':>11s}{'anonymous':>12s}{'files':>12s}")
        for name in given.only:
            steps[name](given, model, scratch)


if __name__ == "__main__":
    main()
