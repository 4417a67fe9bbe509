"""What the children of `kiln compare` that run Python have in common: they answer requests on standard input,
one line at a time, by a library that the script behind this one wraps. It computes nothing itself.

prepare FORMAT M N K THREADS        then M*K and N*K f32 values: the operands of a product; answers: ok
elements I,J I,J ...                makes one product; answers: ok, and those elements of it
rows OP THREADS SETS [NUMBER]       an operation on rows begins, or attention with so many heads of keys; answers: ok
operand ACCESS ELEMENT ROWS COLS    then its bytes: the next operand of a set; answers: ok
ready                               all operands of all sets are there; answers: ok
run CALLS                           answers: ok, and the nanoseconds of all calls together
answer                              makes a call on the first set, with what it only writes spoilt; answers: ok
piece OPERAND ROW FROM COUNT        answers: ok, and the bytes of those elements after that call, in hex

What cannot be done is answered by: error, and why. It ends where its input does.
"""

import functools
import importlib
import itertools
import os
import sys
import time

# Libraries may print: only this program's answers are to reach the pipe.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

# Of norms, as ours have it.
EPS = 1e-6


def answer(*words):
    print(*words, file=answers, flush=True)


def refuse(why):
    answer("error", type(why).__name__, " ".join(str(why).split()))


def library(name):
    try:
        return importlib.import_module(name)
    except Exception as why:
        refuse(why)
        sys.exit()


def received(count):
    data = bytearray(count)
    view = memoryview(data)
    while view:
        count = sys.stdin.buffer.readinto(view)
        if not count:
            sys.exit("the operands ended early")
        view = view[count:]
    return data


def serve(peer):
    """Answers with what `peer` has: VERSION, ROWS (for each operation on rows a function that takes a set of operands
    and gives a function of no arguments that makes one call and returns the last operand), threads(count),
    operand(element, rows, cols), spoil(operand), piece(operand, row, start, count); and for products
    product(format, m, n, k), which gives such a function too."""
    answer("ok", peer.VERSION)
    # What makes a call on each set, and whose turn it is next; the operands of all sets, and what becomes of each.
    steps, turns, operands, access = [], None, [], []
    op, sets = None, 1
    for line in iter(sys.stdin.buffer.readline, b""):
        what, *rest = line.decode().split()
        try:
            if what == "prepare":
                steps = turns = None
                peer.threads(int(rest[4]))
                steps = [peer.product(rest[0], *map(int, rest[1:4]))]
                turns = itertools.cycle(steps)
                answer("ok")
            elif what == "rows":
                steps = turns = None
                operands, access = [], []
                op, sets = functools.partial(peer.ROWS[rest[0]], *map(int, rest[3:])), int(rest[2])
                peer.threads(int(rest[1]))
                answer("ok")
            elif what == "operand":
                access.append(rest[0])
                operands.append(peer.operand(rest[1], int(rest[2]), int(rest[3])))
                answer("ok")
            elif what == "ready":
                each = len(operands) // sets
                operands = [operands[i * each : (i + 1) * each] for i in range(sets)]
                steps = [op(*one) for one in operands]
                turns = itertools.cycle(steps)
                answer("ok")
            elif what == "run":
                calls = itertools.islice(turns, int(rest[0]))
                start = time.perf_counter_ns()
                for step in calls:
                    step()
                answer("ok", time.perf_counter_ns() - start)
            elif what == "elements":
                c = steps[0]()
                places = [place.split(",") for place in rest]
                answer("ok", *(repr(float(c[int(i), int(j)])) for i, j in places))
            elif what == "answer":
                for how, operand in zip(access, operands[0]):
                    if how == "write":
                        peer.spoil(operand)
                operands[0][-1] = getattr(steps[0], "answer", steps[0])()
                answer("ok")
            elif what == "piece":
                index, row, start, count = map(int, rest)
                answer("ok", peer.piece(operands[0][index], row, start, count).hex())
            else:
                answer("error", "unknown request", what)
        except Exception as why:
            refuse(why)
