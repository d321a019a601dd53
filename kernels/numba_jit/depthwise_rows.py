"""Vector code of depthwise convolution: a call handles LANES channels along a stretch of some rows.

With 3x3 and 5x5 kernels of stride 1 and 2 (`taps` and `stride` are literals) the weights stay in registers while the
call slides along the rows, so that a pixel is loaded once for all outputs of these rows that see it. `taps` 0 stands
for all other windows, whose sizes are variables; a call handles one row then. Rows outside an image have an empty mask
and a place inside it; columns outside are passed over.

Arguments come in tuples: an image is (array, offset, rows, columns, channels), a window (R, S, strides, dilations), a
stretch (first row of the image, first column, first output column, output columns). Arrays start at channel 0, and
`channel` is the first of the vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .depthwise_vectors import Place, inside, only_if, sink, source
from .simd import LANES, Accumulator, constant, fma, masked_load, masked_store, tail_mask

L = types.int64
Values = list[Any]


class Lanes:
    """The code being built, and the channels that it works on."""

    def __init__(self, b: Any, channel: Any, channels: Any) -> None:
        self.b, self.channel = b, channel
        count = b.sub(channels, channel)
        self.mask, self.whole = tail_mask(b, count), b.icmp_signed(">=", count, constant(LANES))

    def source(self, image: Values, rest: Values) -> Any:
        """How an image is loaded."""
        return source(self.b, Place(image[0], image[1], self.channel), self.mask, rest)

    def sink(self, image: Values, rest: Values) -> Any:
        """How an image is stored."""
        around = self.b.icmp_signed("!=", image[5], constant(0))
        return sink(self.b, Place(image[0], image[1], self.channel), self.mask, self.whole, around, rest)

    def row(self, matrix: Any, row: Any, channels: Any) -> Any:
        """Pointer to the vector in a row of a matrix of so many channels."""
        return self.b.gep(matrix, [self.b.add(self.b.mul(row, channels), self.channel)])

    def weights(self, packed: Values, taps: int) -> list[list[Any]]:
        """The vectors of all weights, by row and column of the kernel."""
        return [[self.weight(packed, constant(r * taps + s)) for s in range(taps)] for r in range(taps)]

    def weight(self, packed: Values, tap: Any) -> Any:
        """The vector of one weight."""
        return masked_load(self.b, self.row(packed[0], tap, packed[1]), self.mask)

    def add(self, total: Any, partial: Values, tap: Any) -> None:
        """Add the vector of one weight's gradient."""
        place = self.row(partial[0], tap, partial[1])
        masked_store(self.b, self.b.fadd(masked_load(self.b, place, self.mask), total), place, self.mask)


class Ahead:
    """The rows that come next, fetched line by line while a stretch is passed: each vector of channels has its share.

    A pass takes one line out of each pixel, in an order that processors do not foresee. The rows are fetched side by
    side, or with `joined` one behind the other, as they stand in memory: a stream that processors run ahead of.
    """

    def __init__(
        self, lanes: Lanes, image: Values, memory: Any, first: Any, rows: int, joined: bool = False
    ) -> None:  # fmt: skip
        b = self.b = lanes.b
        self.memory, row_size = memory, b.mul(image[3], image[4])
        lines, apart = (rows, constant(LANES)) if joined else (1, row_size)
        self.step = constant(lines * LANES)
        columns = b.mul(image[3], constant(lines))
        share = b.mul(lanes.channel, b.sub(columns, constant(1)))  # the memory starts at the channel
        start = b.add(b.mul(first, row_size), share)
        self.offsets = [b.add(start, b.mul(constant(i), apart)) for i in range(rows)]

    def fetch(self, column: Any, lines: slice = slice(None)) -> None:
        """The share of one column, or some lines of it."""
        offset = self.b.mul(column, self.step)
        for start in self.offsets[lines]:
            self.memory.expect(self.b.add(start, offset))


class Window:
    """Some rows of an image, each with its offset and mask; `new` of them the next stretch does not have in common."""

    def __init__(
        self, lanes: Lanes, image: Values, rest: Values, first: Any, rows: int, new: int
    ) -> None:  # fmt: skip
        b = self.b = lanes.b
        _, _, height, self.width, self.channels = image
        self.source = lanes.source(image, rest)
        self.ahead = Ahead(lanes, image, self.source, b.add(first, constant(rows)), new, joined=True)
        row_size, last = b.mul(self.width, self.channels), b.sub(height, constant(1))
        self.offsets, self.masks = [], []
        for i in range(rows):
            row = b.add(first, constant(i))
            clamped = b.select(b.icmp_signed("<", row, constant(0)), constant(0), row)
            clamped = b.select(b.icmp_signed(">", clamped, last), last, clamped)
            self.offsets.append(b.mul(clamped, row_size))
            self.masks.append(only_if(b, inside(b, row, height), lanes.mask))

    def load(self, row: int, column: Any) -> Any:
        """The vector of a column that is inside the image."""
        offset = self.b.add(self.offsets[row], self.b.mul(column, self.channels))
        return self.source.load(offset, self.masks[row])

    def load_each(self, column: Any) -> Iterator[Any]:
        """The vector of one row after the other, and a line fetched before each of them.

        LLVM would put the fetches side by side; several at once hold up the loads behind them.
        """
        for i in range(len(self.offsets)):
            self.ahead.fetch(column, slice(i, i + 1))
            self.b.fence("acq_rel", "singlethread")  # no instruction: it keeps the order
            vector = self.load(i, column)
            self.b.fence("acq_rel", "singlethread")
            yield vector


def rows_of(taps: int) -> int:
    """Rows of a stretch: as many as leave registers for the weights."""
    return 4 if taps == 3 else 2


def loop(b: Any, start: Any, stop: Any) -> Any:
    """``for index in range(start, stop)``"""
    return cgutils.for_range_slice(b, start, stop, constant(1))


def rotate(columns: list[Accumulator]) -> None:
    """Each column takes the value of the one before it."""
    for j in reversed(range(1, len(columns))):
        columns[j].set(columns[j - 1].get())


def unpack(b: Any, signature: Any, arguments: Any, first: int) -> list[Any]:
    """The arguments from the one numbered `first` on; tuples as lists."""
    return [cgutils.unpack_tuple(b, value) if isinstance(kind, types.BaseTuple) else value
            for kind, value in zip(signature.args[first:], arguments[first:], strict=True)]  # fmt: skip


# ---------------------------------------------------------------- sums over windows: forward, and dx of stride 1


@intrinsic(prefer_literal=True)
def slide(typingctx, taps, stride, channel, image, window, stretch, packed, bias, target, rows, load, store):  # type: ignore[no-untyped-def]
    """target = bias + the sums over windows of `image`, in up to `rows_of` rows.

    `packed` is (TAPS x K weights, K), `bias` (array, B), `target` an image and whether to write it around the caches,
    `rows` (its first row, how many).
    """

    def codegen(context, b, signature, arguments):  # type: ignore[no-untyped-def]
        channel, image, window, stretch, packed, bias, target, rows, load, store = unpack(b, signature, arguments, 2)
        lanes = Lanes(b, channel, packed[1])
        there = b.icmp_signed(">", bias[1], constant(0))
        start = masked_load(b, b.gep(bias[0], [channel]), only_if(b, there, lanes.mask))
        out = lanes.sink(target, store)
        if taps.literal_value:
            _slide(lanes, taps.literal_value, stride.literal_value, image, stretch, packed, start, target, rows, load,
                   out)  # fmt: skip
        else:
            _each_pixel(lanes, image, window, stretch, packed, start, target, rows, load, out)
        out.finish()
        return context.get_dummy_value()

    return types.void(taps, stride, L, image, window, stretch, packed, bias, target, rows, load, store), codegen


def _slide(
    lanes: Lanes, taps: int, stride: int, image: Values, stretch: Values, packed: Values, bias: Any, target: Values,
    rows: Values, load: Values, out: Any,
) -> None:  # fmt: skip
    """Step t meets `stride` new columns; sums[row][q] belongs to output column t - q, and the oldest is complete."""
    b, pending, count = lanes.b, -(-taps // stride), rows_of(taps)
    first_row, first_column, first, columns = stretch
    height = stride * (count - 1) + taps
    seen, w = Window(lanes, image, load, first_row, height, stride * count), lanes.weights(packed, taps)
    ahead = Ahead(lanes, target, out, b.add(rows[0], constant(count)), count)
    sums = [[Accumulator(b) for _ in range(pending)] for _ in range(count)]
    row_size = b.mul(target[3], target[4])
    starts = [b.mul(b.add(rows[0], constant(k)), row_size) for k in range(count)]
    wanted = [b.icmp_signed(">", rows[1], constant(k)) for k in range(count)]
    stop, delay = b.add(b.add(first, columns), constant(pending - 1)), constant(pending - 1)
    with loop(b, first, stop) as (t, _):
        for row in sums:
            row[0].set(bias)
        left = b.add(b.mul(t, constant(stride)), first_column)
        for j in range(stride):
            column = b.add(left, constant(j))
            with b.if_then(inside(b, column, seen.width)):
                for i, vector in enumerate(seen.load_each(column)):
                    for k in range(count):
                        r = i - k * stride
                        if 0 <= r < taps:
                            for q, s in enumerate(range(j, taps, stride)):
                                sums[k][q].set(fma(b, vector, w[r][s], sums[k][q].get()))
        with b.if_then(b.icmp_signed(">=", t, b.add(first, delay))):
            complete = b.sub(t, delay)
            ahead.fetch(complete)
            for k in range(count):
                with b.if_then(wanted[k]):
                    out.store(b.add(starts[k], b.mul(complete, target[4])), sums[k][-1].get())
        for row in sums:
            rotate(row)


def _each_pixel(
    lanes: Lanes, image: Values, window: Values, stretch: Values, packed: Values, bias: Any, target: Values,
    rows: Values, load: Values, out: Any,
) -> None:  # fmt: skip
    """One output after the other, for windows of any size."""
    b = lanes.b
    _, _, height, width, channels = image
    kernel_height, kernel_width, _, stride, dilation_down, dilation = window
    first_row, first_column, first, columns = stretch
    seen, total = lanes.source(image, load), Accumulator(b)
    with loop(b, first, b.add(first, columns)) as (t, _):
        total.set(bias)
        left = b.add(b.mul(t, stride), first_column)
        with loop(b, constant(0), kernel_height) as (r, _):
            row = b.add(first_row, b.mul(r, dilation_down))
            with b.if_then(inside(b, row, height)), loop(b, constant(0), kernel_width) as (s, _):
                column = b.add(left, b.mul(s, dilation))
                with b.if_then(inside(b, column, width)):
                    vector = seen.load(b.mul(b.add(b.mul(row, width), column), channels), lanes.mask)
                    weight = lanes.weight(packed, b.add(b.mul(r, kernel_width), s))
                    total.set(fma(b, vector, weight, total.get()))
        out.store(b.mul(b.add(b.mul(rows[0], target[3]), t), target[4]), total.get())
