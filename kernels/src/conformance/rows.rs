//! The grid of every operation on rows: lengths around vectors, values where kernels go wrong, each element against the
//! oracle that stands beside the operation; conversions with every half besides.

use super::values::{Random, Values};
use super::{Arena, Flush, Outcome, compare, worst};
use crate::format::{Format, bf16, f16};
use crate::registry::Op;
use crate::row::{Access, Data, Extent, Operand, Rows};

/// Every length up to a few vectors of any ISA, and some around the lengths that models use.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=70).chain([127, 128, 129, 130, 255, 256, 257, 448, 511, 513, 895, 896, 897, 1025, 2049])
}

/// Rows of a problem of that many columns: as many as kernels take at a time, one more, and one.
fn row_counts(cols: usize) -> impl Iterator<Item = usize> {
    [1, 5].into_iter().filter(move |rows| *rows == 1 || cols.is_multiple_of(3))
}

fn flush(n: usize) -> Flush {
    if n.is_multiple_of(2) { Flush::End } else { Flush::Start }
}

/// Blocks are made of finite values, and what is quantised is finite.
fn takes(kernel: &dyn Rows, values: Values) -> bool {
    let quantises = |o: &Operand| matches!(o.element, crate::row::Element::Of(format) if format.is_blocks());
    match values {
        Values::NonFinite => !kernel.operands().iter().any(quantises),
        Values::Wide => !kernel.operands().iter().any(|o| quantises(o) && o.access == Access::Read),
        _ => true,
    }
}

pub(super) fn grid<A: Arena>(kernel: &dyn Rows, arena: &A, out: &mut Outcome) {
    for cols in lengths() {
        for rows in row_counts(cols) {
            for values in Values::ALL.into_iter().filter(|v| takes(kernel, *v)) {
                let result = case(kernel, arena, (rows, cols), |seed, row| values.fill(seed, row));
                out.case(|| format!("{rows}x{cols}, {values:?}"), result);
            }
        }
    }
    for (name, values) in specials(kernel.meta().op) {
        for skip in 0..4 {
            let result = case(kernel, arena, (1, values.len() - skip), |_, row| row.copy_from_slice(&values[skip..]));
            out.case(|| format!("{name} from {skip} on"), result);
        }
    }
}

/// One call, compared element by element.
fn case<A: Arena>(kernel: &dyn Rows, arena: &A, (rows, cols): (usize, usize), fill: impl Fn(u64, &mut [f32])) -> Result<f64, String> {
    let operands = kernel.operands();
    // A row of each operand, as values; what rows share counts as the first one's.
    let (mut values, mut buffers) = (Vec::new(), Vec::new());
    for (o, operand) in operands.iter().enumerate() {
        let (bytes, n) = (operand.row_bytes(cols), operand.width(cols));
        let count = if operand.extent == Extent::Shared { 1 } else { rows };
        let mut buffer = arena.buffer(bytes * count, 0xffu8, flush(cols));
        let mut of_rows = Vec::new();
        for r in 0..count {
            let mut row = vec![0.0; n];
            if operand.access != Access::Write {
                // Weights and angles stay tame: what is extreme is the row.
                let seed = (cols * 31 + o * 7 + r) as u64;
                if operand.extent == Extent::Columns {
                    fill(seed, &mut row)
                } else {
                    Values::Uniform.fill(seed, &mut row)
                }
                let stored = &mut buffer[r * bytes..][..bytes];
                operand.encode(&row, stored);
                row = operand.decode(stored, cols);
            }
            of_rows.push(row);
        }
        values.push(of_rows);
        buffers.push(buffer);
    }
    let mut data = Data { rows, cols, first: 0, read: Vec::new(), write: Vec::new() };
    for (operand, buffer) in operands.iter().zip(&mut buffers) {
        match operand.access {
            Access::Read => data.read.push(buffer),
            Access::Write | Access::Update => data.write.push(buffer),
        }
    }
    kernel.call(&mut data);
    let written: Vec<&Operand> = operands.iter().filter(|o| o.access != Access::Read).collect();
    let mut most = 0.0f64;
    for r in 0..rows {
        let of = |wanted: &dyn Fn(&Operand) -> bool| -> Vec<Vec<f32>> {
            operands.iter().zip(&values).filter(|(o, _)| wanted(o)).map(|(_, rows)| rows[r.min(rows.len() - 1)].clone()).collect()
        };
        let want = kernel.expected(&of(&|o| o.access == Access::Read), &of(&|o| o.access != Access::Read), r);
        for ((operand, bytes), want) in written.iter().zip(&data.write).zip(want) {
            let bytes = &bytes[r * operand.row_bytes(cols)..][..operand.row_bytes(cols)];
            let got = operand.decode(bytes, cols);
            if got.len() != want.len() {
                return Err(format!("{} elements instead of {}", got.len(), want.len()));
            }
            let each = got.iter().zip(&want).map(|(got, want)| compare(*got, want.value, want.tolerance));
            most = most.max(worst(each).map_err(|e| format!("row {r}, {e}"))?);
        }
    }
    Ok(most)
}

/// Values that a conversion must get right: every half, and for rounding every tie between neighbours, what lies just
/// beside it, and random bits.
fn specials(op: Op) -> Vec<(&'static str, Vec<f32>)> {
    let widen = |format| move |h: u16| if format == Format::F16 { f16::to_f32(h) } else { bf16::to_f32(h) };
    let every = |format| (0..=u16::MAX).map(widen(format)).collect::<Vec<f32>>();
    let ties = |format, infinity: u16| {
        let value = widen(format);
        let mut values = Vec::new();
        for pair in 0..infinity {
            let next =
                if pair + 1 == infinity { 2.0 * f64::from(value(pair)) - f64::from(value(pair - 1)) } else { f64::from(value(pair + 1)) };
            let tie = ((f64::from(value(pair)) + next) / 2.0) as f32;
            values.extend([tie, tie.next_up(), tie.next_down(), -tie, -tie.next_up(), -tie.next_down()]);
        }
        let mut random = Random::new(5);
        values.extend((0..1 << 16).map(|_| f32::from_bits(random.bits() as u32)));
        values
    };
    match op {
        Op::F16ToF32 => vec![("every half", every(Format::F16))],
        Op::Bf16ToF32 => vec![("every bfloat16", every(Format::Bf16))],
        Op::F32ToF16 => vec![("every half", every(Format::F16)), ("ties", ties(Format::F16, 0x7c00))],
        Op::F32ToBf16 => vec![("every bfloat16", every(Format::Bf16)), ("ties", ties(Format::Bf16, 0x7f80))],
        _ => Vec::new(),
    }
}
