"""PyTorch for `kiln compare`: a linear layer, and operations on rows as one writes them with it, into results that are
there already where it allows that."""

from functools import partial

torch = library("torch")
functional = torch.nn.functional
silu = torch._C._nn.silu

FORMATS = {
    "f32": (torch.float32, functional.linear),
    "bf16": (torch.bfloat16, functional.linear),
    "s8": (torch.int8, lambda a, w: torch._int_mm(a, w.t())),
}
# How elements come, and what PyTorch works with.
ELEMENTS = {
    "f32": (torch.float32, torch.float32),
    "f16": (torch.float16, torch.float16),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "u32": (torch.int32, torch.int64),
}


def convert(x, y):
    return partial(y.copy_, x)


def rms_norm(x, weight, y):
    return partial(functional.rms_norm, x, (x.shape[1],), weight[0], EPS)


def layer_norm(x, weight, bias, y):
    return partial(functional.layer_norm, x, (x.shape[1],), weight[0], bias[0], EPS)


def add_rms_norm(delta, weight, x, y):
    shape, weight = (x.shape[1],), weight[0]

    def step():
        x.add_(delta)
        return functional.rms_norm(x, shape, weight, EPS)

    return step


def rope(bias, angles, x):
    dim = angles.shape[1]
    half = dim // 2
    if half == 0:
        return lambda: x
    heads = x.shape[1] // dim
    # What makes up no head stays as it is.
    turned, bias = x[:, : heads * dim], bias[0, : heads * dim]
    low, high = turned.unflatten(1, (heads, 2, half)).unbind(2)
    cos, sin = angles[:, None, :half], angles[:, None, half:]

    def step():
        turned.add_(bias)
        across = low * sin
        low.mul_(cos).addcmul_(high, sin, value=-1)
        high.mul_(cos).add_(across)
        return x

    return step


def silu_mul(gate, up, y):
    def step():
        silu(gate, out=y)
        return y.mul_(up)

    return step


def softmax(x):
    # Not in place: PyTorch has no such one.
    return partial(torch.softmax, x, 1, out=torch.empty_like(x))


def argmax(x, at):
    return partial(torch.argmax, x, 1, True, out=at)


def top_k(x, values, at):
    count, out = values.shape[1], (values, at)
    return lambda: torch.topk(x, count, 1, out=out)[1]


def attention(kv_heads, queries, keys, values, out):
    dim, context, tokens = keys.shape[1], keys.shape[0] // kv_heads, queries.shape[0]
    q = queries.to(keys.dtype).unflatten(1, (-1, dim)).transpose(0, 1)[None].contiguous()
    k, v = (x.reshape(1, kv_heads, context, dim) for x in (keys, values))
    # The last tokens of the context see what comes up to them; a single one sees all.
    mask = None if tokens == 1 else torch.ones(tokens, context, dtype=torch.bool).tril(context - tokens)

    def step():
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)

    step.answer = lambda: step()[0].transpose(0, 1).flatten(1).float()
    return step


class Torch:
    VERSION = "PyTorch " + torch.__version__
    ROWS = {
        "f16_to_f32": convert,
        "f32_to_f16": convert,
        "bf16_to_f32": convert,
        "f32_to_bf16": convert,
        "rms_norm": rms_norm,
        "layer_norm": layer_norm,
        "add_rms_norm": add_rms_norm,
        "rope": rope,
        "silu_mul": silu_mul,
        "softmax": softmax,
        "argmax": argmax,
        "top_k": top_k,
        "attention": attention,
    }
    threads = torch.set_num_threads

    @staticmethod
    def matrix(rows, cols, kind, dtype):
        if rows * cols == 0:
            return torch.empty(rows, cols, dtype=dtype)
        # A tensor of its own memory, aligned as PyTorch likes it.
        data = received(kind.itemsize * rows * cols)
        return torch.frombuffer(data, dtype=kind).reshape(rows, cols).to(dtype, copy=True)

    @staticmethod
    def product(name, m, n, k):
        dtype, multiply = FORMATS[name]
        a, w = Torch.matrix(m, k, torch.float32, dtype), Torch.matrix(n, k, torch.float32, dtype)
        return partial(multiply, a, w)

    @staticmethod
    def operand(element, rows, cols):
        return Torch.matrix(rows, cols, *ELEMENTS[element])

    @staticmethod
    def spoil(operand):
        operand.fill_(float("nan") if operand.is_floating_point() else -1)

    @staticmethod
    def piece(operand, row, start, count):
        elements = operand[row, start : start + count]
        if elements.dtype == torch.int64:
            elements = elements.to(torch.int32)
        return bytes(elements.contiguous().view(torch.uint8).tolist())


with torch.inference_mode():
    serve(Torch)
