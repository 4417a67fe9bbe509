"""NumPy for `kiln compare`: operations on rows as one writes them with it, into results that are there already. It has
no threads of its own for them, and no bfloat16."""

np = library("numpy")

# How elements come, and what NumPy works with.
ELEMENTS = {"f32": (np.float32, np.float32), "f16": (np.float16, np.float16), "u32": (np.uint32, np.intp)}
eps = np.float32(EPS)


def convert(x, y):
    def step():
        np.copyto(y, x)
        return y

    return step


def norm(x, weight, y):
    np.multiply(x, x, out=y)
    np.multiply(x, 1 / np.sqrt(y.mean(axis=1, keepdims=True) + eps), out=y)
    return np.multiply(y, weight, out=y)


def rms_norm(x, weight, y):
    return lambda: norm(x, weight, y)


def add_rms_norm(delta, weight, x, y):
    def step():
        np.add(x, delta, out=x)
        return norm(x, weight, y)

    return step


def layer_norm(x, weight, bias, y):
    squares = np.empty_like(x)

    def step():
        np.subtract(x, x.mean(axis=1, keepdims=True), out=y)
        np.multiply(y, y, out=squares)
        np.multiply(y, 1 / np.sqrt(squares.mean(axis=1, keepdims=True) + eps), out=y)
        np.multiply(y, weight, out=y)
        return np.add(y, bias, out=y)

    return step


def silu_mul(gate, up, y):
    def step():
        np.negative(gate, out=y)
        np.exp(y, out=y)
        np.add(y, np.float32(1), out=y)
        np.divide(gate, y, out=y)
        return np.multiply(y, up, out=y)

    return step


def softmax(x):
    def step():
        np.subtract(x, x.max(axis=1, keepdims=True), out=x)
        np.exp(x, out=x)
        return np.divide(x, x.sum(axis=1, keepdims=True), out=x)

    return step


def argmax(x, at):
    return lambda: np.argmax(x, axis=1, out=at, keepdims=True)


class NumPy:
    VERSION = "NumPy " + np.__version__ + " (one thread)"
    ROWS = {
        "f16_to_f32": convert,
        "f32_to_f16": convert,
        "rms_norm": rms_norm,
        "layer_norm": layer_norm,
        "add_rms_norm": add_rms_norm,
        "silu_mul": silu_mul,
        "softmax": softmax,
        "argmax": argmax,
    }

    @staticmethod
    def threads(count):
        pass

    @staticmethod
    def operand(element, rows, cols):
        kind, dtype = ELEMENTS[element]
        data = received(np.dtype(kind).itemsize * rows * cols)
        # An array of its own memory, aligned as NumPy likes it.
        return np.frombuffer(data, dtype=kind).reshape(rows, cols).astype(dtype)

    @staticmethod
    def spoil(operand):
        operand.fill(np.nan if operand.dtype.kind == "f" else -1)

    @staticmethod
    def piece(operand, row, start, count):
        elements = operand[row, start : start + count]
        return (elements.astype(np.uint32) if elements.dtype.kind == "i" else elements).tobytes()


serve(NumPy)
