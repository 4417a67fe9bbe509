"""The child of `kiln compare`: multiplies by PyTorch, as asked on standard input, one line at a time.

prepare FORMAT M N K THREADS   then M*K and N*K f32 values: the operands; answers: ok
run CALLS                      answers: ok, and the nanoseconds of all calls together
elements I,J I,J ...           makes one call; answers: ok, and those elements of its result

FORMAT is one of f32, bf16, s8. What cannot be done is answered by: error, and why. It ends where its
input does.
"""

import os
import sys
import time

# Libraries may print: only this program's answers are to reach the pipe.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(*words):
    print(*words, file=answers, flush=True)


try:
    import torch
except Exception as why:
    answer("error", type(why).__name__, " ".join(str(why).split()))
    sys.exit()

LINEAR = torch.nn.functional.linear
FORMATS = {
    "f32": (torch.float32, LINEAR),
    "bf16": (torch.bfloat16, LINEAR),
    "s8": (torch.int8, lambda a, w: torch._int_mm(a, w.t())),
}


def operand(rows, cols, dtype):
    data = bytearray(4 * rows * cols)
    view = memoryview(data)
    while view:
        count = sys.stdin.buffer.readinto(view)
        if not count:
            sys.exit("the operands ended early")
        view = view[count:]
    # A tensor of its own memory, aligned as PyTorch likes it.
    return torch.frombuffer(data, dtype=torch.float32).reshape(rows, cols).to(dtype, copy=True)


def main():
    answer("ok", "PyTorch", torch.__version__)
    multiply = a = w = None
    for line in iter(sys.stdin.buffer.readline, b""):
        what, *rest = line.decode().split()
        try:
            if what == "prepare":
                a = w = None
                dtype, multiply = FORMATS[rest[0]]
                m, n, k, threads = map(int, rest[1:])
                torch.set_num_threads(threads)
                a, w = operand(m, k, dtype), operand(n, k, dtype)
                answer("ok")
            elif what == "run":
                calls = range(int(rest[0]))
                start = time.perf_counter_ns()
                for _ in calls:
                    multiply(a, w)
                answer("ok", time.perf_counter_ns() - start)
            elif what == "elements":
                c = multiply(a, w)
                places = [place.split(",") for place in rest]
                answer("ok", *(repr(float(c[int(i), int(j)])) for i, j in places))
            else:
                answer("error", "unknown request", what)
        except Exception as why:
            answer("error", type(why).__name__, " ".join(str(why).split()))


with torch.inference_mode():
    main()
