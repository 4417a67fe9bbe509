//! Block formats against another implementation's bytes, and against themselves.

use kiln_kernels::format::{Block, Format, SPAN, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
use proptest::prelude::*;

const GOLDEN: &str = include_str!("golden/blocks.txt");

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal")).collect()
}

/// How many lines of the golden file the format has.
fn golden<B: Block>() -> usize {
    let lines = GOLDEN.lines().map(|l| l.split(' ').collect::<Vec<_>>()).filter(|l| l[0] == B::FORMAT.name());
    let check = |line: Vec<&str>| {
        let [_, kind, block, weights] = line[..] else { panic!("{line:?}") };
        let block = bytes(block);
        let parsed: B = bytemuck::pod_read_unaligned(&block);
        let mut out = vec![0.0; B::DEPTH];
        parsed.dequantise(&mut out);
        let want: Vec<u32> = bytes(weights).chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        assert_eq!(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want, "{}", B::FORMAT);
        for (i, x) in out.iter().enumerate() {
            assert_eq!(*x, parsed.value(i) as f32, "{} at {i}", B::FORMAT);
        }
        if kind == "quantised" {
            let x: Vec<f32> = (0..32).map(|i| (f64::from((7919 * i + 13) % 2001 - 1000) / 1000.0 * 3.0) as f32).collect();
            assert_eq!(bytemuck::bytes_of(&B::quantise(&x)), block, "{}", B::FORMAT);
        }
    };
    lines.map(check).count()
}

#[test]
fn blocks_are_those_of_another_implementation() {
    assert_eq!(golden::<q8_0::Block>(), 2);
    assert_eq!(golden::<q4_0::Block>(), 2);
    assert_eq!(golden::<q4_1::Block>(), 2);
    assert_eq!(golden::<q5_0::Block>(), 2);
    assert_eq!(golden::<q5_1::Block>(), 2);
    assert_eq!(golden::<q4_k::Block>(), 1);
    assert_eq!(golden::<q5_k::Block>(), 1);
    assert_eq!(golden::<q6_k::Block>(), 1);
}

/// Every quant at every depth survives; `make` stores quants as the format does.
fn every_quant<B: Block>(set: impl Fn(&mut B, usize, u8)) {
    for at in 0..B::DEPTH {
        for quant in 0..=(u32::MAX >> (32 - B::BITS)) as u8 {
            let mut block = B::zeroed();
            set(&mut block, at, quant);
            let all: Vec<u8> = (0..B::DEPTH / SPAN).flat_map(|span| block.quants(span)).collect();
            let empty: Vec<u8> = (0..B::DEPTH / SPAN).flat_map(|span| B::zeroed().quants(span)).collect();
            for (i, (found, empty)) in all.iter().zip(empty).enumerate() {
                assert_eq!(*found, if i == at { quant } else { empty }, "{}: quant {quant} at {at}, seen at {i}", B::FORMAT);
            }
        }
    }
}

#[test]
fn every_quant_is_read_where_ggml_puts_it() {
    every_quant(|b: &mut q8_0::Block, at, q| b.quants[at] = (q ^ 0x80).cast_signed());
    every_quant(|b: &mut q4_0::Block, at, q| b.quants[at % 16] |= q << (at / 16 * 4));
    every_quant(|b: &mut q4_1::Block, at, q| b.quants[at % 16] |= q << (at / 16 * 4));
    every_quant(|b: &mut q5_0::Block, at, q| {
        b.quants[at % 16] |= (q & 15) << (at / 16 * 4);
        b.high[at / 8] |= (q >> 4) << (at % 8);
    });
    every_quant(|b: &mut q5_1::Block, at, q| {
        b.quants[at % 16] |= (q & 15) << (at / 16 * 4);
        b.high[at / 8] |= (q >> 4) << (at % 8);
    });
    every_quant(|b: &mut q4_k::Block, at, q| b.quants[at / 64 * 32 + at % 32] |= q << (at % 64 / 32 * 4));
    every_quant(|b: &mut q5_k::Block, at, q| {
        b.quants[at / 64 * 32 + at % 32] |= (q & 15) << (at % 64 / 32 * 4);
        b.high[at % 32] |= (q >> 4) << (at / 32);
    });
    every_quant(|b: &mut q6_k::Block, at, q| {
        b.low[at / 128 * 64 + at % 64] |= (q & 15) << (at % 128 / 64 * 4);
        b.high[at / 128 * 32 + at % 32] |= (q >> 4) << (at % 128 / 32 * 2);
    });
}

/// Nothing is off by more than a step and a half of the largest scale, and nothing is not finite.
fn round_trip<B: Block>(x: &[f32]) -> Result<(), TestCaseError> {
    let block = B::quantise(&x[..B::DEPTH]);
    let range = x[..B::DEPTH].iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let steps = ((1 << B::BITS) - 1) as f32;
    for (i, x) in x[..B::DEPTH].iter().enumerate() {
        let off = (block.value(i) - f64::from(*x)).abs() as f32;
        prop_assert!(off <= 3.0 * range / steps + 1e-6, "{}: {x} became {} at {i}", B::FORMAT, block.value(i));
    }
    Ok(())
}

proptest! {
    #[test]
    fn quantised_weights_are_near(x in prop::collection::vec(-100.0f32..100.0, 256)) {
        round_trip::<q8_0::Block>(&x)?;
        round_trip::<q4_0::Block>(&x)?;
        round_trip::<q4_1::Block>(&x)?;
        round_trip::<q5_0::Block>(&x)?;
        round_trip::<q5_1::Block>(&x)?;
        round_trip::<q4_k::Block>(&x)?;
        round_trip::<q5_k::Block>(&x)?;
        round_trip::<q6_k::Block>(&x)?;
    }

    #[test]
    fn no_bits_make_a_block_that_is_not_finite(bits in prop::collection::vec(any::<u32>(), 256)) {
        let x: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).filter(|x| x.is_finite()).chain(core::iter::repeat(1.0)).take(256).collect();
        fn finite<B: Block>(x: &[f32]) -> bool {
            let block = B::quantise(&x[..B::DEPTH]);
            (0..B::DEPTH).all(|i| block.value(i).is_finite())
        }
        prop_assert!(finite::<q8_0::Block>(&x) && finite::<q4_0::Block>(&x) && finite::<q4_1::Block>(&x) && finite::<q5_0::Block>(&x));
        prop_assert!(finite::<q5_1::Block>(&x) && finite::<q4_k::Block>(&x) && finite::<q5_k::Block>(&x) && finite::<q6_k::Block>(&x));
    }
}

#[test]
fn names_are_those_of_the_files_and_of_accuracy_classes() {
    let names: Vec<_> = Format::ALL.iter().map(|f| f.name()).collect();
    let (classes, files): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.ends_with("-rows"));
    assert_eq!(
        files,
        ["f32", "f16", "bf16", "f16w", "bf16w", "bf16r", "s8", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"]
    );
    let blocks: Vec<_> = files.iter().skip_while(|name| **name != "q8_0").map(|name| format!("{name}-rows")).collect();
    assert_eq!(classes, blocks, "each block format has a class of rows with one scale");
}
