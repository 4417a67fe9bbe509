#!/usr/bin/env python3
"""llama.cpp as a peer: reads tests from stdin, one a line, and answers each with a line of JSON.

  llama-peer.py MODEL.gguf THREADS [KV_TYPE]     tests: pp512, tg32, tg32@4096 (behind a context of 4096 tokens)

Needs llama-cpp-python, whose source distribution builds llama.cpp for the machine. scripts/bench-engine drives it."""
import json, os, resource, sys, time
import llama_cpp as llama

path, threads = sys.argv[1], int(sys.argv[2])
kept = {"f32": 0, "f16": 1, "q8_0": 8}[sys.argv[3] if len(sys.argv) > 3 else "f16"]
quiet, errors = os.open(os.devnull, os.O_WRONLY), os.dup(2)
os.dup2(quiet, 2)
llama.llama_backend_init()
start = time.perf_counter()
model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
load = time.perf_counter() - start
settings = llama.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch = 8192, 2048, 512
settings.n_threads = settings.n_threads_batch = threads
settings.type_k = settings.type_v = kept
context = llama.llama_init_from_model(model, settings)
os.dup2(errors, 2)
vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
memory = llama.llama_get_memory(context)


def feed(tokens):
    for at in range(0, len(tokens), 2048):
        part = tokens[at : at + 2048]
        held = (llama.llama_token * len(part))(*part)  # for as long as the batch points to it
        assert llama.llama_decode(context, llama.llama_batch_get_one(held, len(part))) == 0
    llama.llama_synchronize(context)


def text(count):
    return [i * 7919 % vocab for i in range(count)]


for line in sys.stdin:
    kind, (count, _, depth) = line[:2], line.strip()[2:].partition("@")
    llama.llama_memory_clear(memory, True)
    if depth:
        feed(text(int(depth)))
    tokens = text(int(count))
    start = time.perf_counter()
    if kind == "pp":
        feed(tokens)
    else:
        for token in tokens:
            feed([token])
    rate = len(tokens) / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"test": line.strip(), "ts": rate, "peak_rss": peak, "load_s": load}), flush=True)
