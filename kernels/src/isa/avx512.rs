//! AVX-512 (F, BW, DQ and VL): 512-bit vectors, 32 registers, masked edges; with VNNI and with BF16.

use super::{Bf16Dot, IntDot, Isa, IsaId, LINE, MAX_LANES, Simd, ask, extends, peak};
use crate::format::Format;
use core::arch::x86_64::*;

/// Proof that this CPU has AVX-512 as servers have it: F, BW, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Isa for Avx512 {
    const ID: IsaId = IsaId::Avx512;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::F32, peak::f32::<Self>), (Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        let has = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        has.then_some(Avx512(()))
    }
}

/// All lanes of each vector brought together by `$op`, of eight vectors at a time: first halves of two in one
/// vector, then quarters of four.
macro_rules! reduce_each {
    ($v:expr, $count:ident, $op:ident) => {{
        let mut out = [0; $count];
        for (v, out) in $v.chunks(8).zip(out.chunks_mut(8)) {
            // SAFETY: the caller's token proves AVX-512F; the store covers the 16 elements of `lanes`.
            unsafe {
                let mut eight = [_mm512_setzero_si512(); 8];
                eight[..v.len()].copy_from_slice(v);
                let mut halves = [_mm512_setzero_si512(); 4];
                for (half, v) in halves.iter_mut().zip(eight.as_chunks::<2>().0) {
                    *half = $op(_mm512_shuffle_i64x2::<0x44>(v[0], v[1]), _mm512_shuffle_i64x2::<0xee>(v[0], v[1]));
                }
                let mut quarters = [_mm512_setzero_si512(); 2];
                for (quarter, v) in quarters.iter_mut().zip(halves.as_chunks::<2>().0) {
                    *quarter = $op(_mm512_shuffle_i64x2::<0x88>(v[0], v[1]), _mm512_shuffle_i64x2::<0xdd>(v[0], v[1]));
                }
                let [low, high] = quarters;
                let two = $op(_mm512_unpacklo_epi32(low, high), _mm512_unpackhi_epi32(low, high));
                let one = $op(two, _mm512_shuffle_epi32::<0x4e>(two));
                let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
                let mut lanes = [0i32; 16];
                _mm512_storeu_si512(lanes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, one));
                out.copy_from_slice(&lanes[..out.len()]);
            }
        }
        out
    }};
}

impl Simd for Avx512 {
    type F32 = __m512;
    type Lanes = [f32; Self::LANES];
    type I32 = __m512i;
    type Words = [u32; Self::LANES];
    type Halves = [u16; Self::LANES];
    const LANES: usize = 16;
    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn enabled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` proves that the CPU has this feature.
        unsafe { enabled(f) }
    }
    #[inline(always)]
    fn vectors(src: &[f32]) -> &[Self::Lanes] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> __m512 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the load is unaligned.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, dst: &mut [f32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the store is unaligned.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn xor(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F; casts change no bits.
        unsafe { _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_castps_si512(b))) }
    }
    #[inline(always)]
    fn prefetch(self, row: &[f32]) {
        row.chunks(LINE).for_each(|line| ask(line.as_ptr().cast()));
    }
    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> __m512 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 halves, and the load is unaligned.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, v: __m512, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 halves, and the store is unaligned.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    fn four_f16(self, src: [u16; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX-512F, which no CPU has without F16C; a vector of four f32 is an array of them.
        unsafe { core::mem::transmute(_mm_cvtph_ps(_mm_loadl_epi64(src.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m512 {
        let mask = mask(src.len());
        // SAFETY: `self` proves AVX-512F; lanes at or beyond `src.len()` are masked off and not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, src.as_ptr()) }
    }
    #[inline(always)]
    fn halves_partial(self, src: &[u16]) -> [u16; MAX_LANES] {
        // SAFETY: `self` proves AVX-512BW and VL; lanes at or beyond `src.len()` are masked off and not touched. Both
        // types are 16 times 16 bits.
        unsafe { core::mem::transmute(_mm256_maskz_loadu_epi16(mask(src.len()), src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m512, dst: &mut [f32]) {
        let mask = mask(dst.len());
        // SAFETY: `self` proves AVX-512F; lanes at or beyond `dst.len()` are masked off and not touched.
        unsafe { _mm512_mask_storeu_ps(dst.as_mut_ptr(), mask, v) }
    }
    #[inline(always)]
    fn words(src: &[u32]) -> &[Self::Words] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn halves(src: &[u16]) -> &[Self::Halves] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn load_bf16(self, src: &[u16]) -> __m512 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the load is unaligned.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast())))) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> __m512i {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the load is unaligned.
        unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_i32(self, v: __m512i, dst: &mut [i32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 elements, and the store is unaligned.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_cvtepi32_ps(v) }
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> __m512 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 bytes, and the load is unaligned.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(src.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn and_i32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn or_i32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn shl_i32(self, v: __m512i, bits: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F. With a constant the compiler makes it a shift by an immediate.
        unsafe { _mm512_sllv_epi32(v, _mm512_set1_epi32(bits.cast_signed())) }
    }
    #[inline(always)]
    fn shr_i32(self, v: __m512i, bits: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F. With a constant the compiler makes it a shift by an immediate.
        unsafe { _mm512_srlv_epi32(v, _mm512_set1_epi32(bits.cast_signed())) }
    }
    #[inline(always)]
    fn to_bits(self, v: __m512) -> __m512i {
        // SAFETY: `self` proves AVX-512F; a cast changes no bits.
        unsafe { _mm512_castps_si512(v) }
    }
    #[inline(always)]
    fn of_bits(self, v: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512F; a cast changes no bits.
        unsafe { _mm512_castsi512_ps(v) }
    }
    #[inline(always)]
    fn truncate(self, v: __m512) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_cvttps_epi32(v) }
    }
    #[inline(always)]
    fn max_i32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_max_epi32(a, b) }
    }
    #[inline(always)]
    fn store_i8(self, v: __m512i, dst: &mut [i8]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX-512F; the slice above holds 16 bytes, and the store is unaligned.
        unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v)) }
    }
    #[inline(always)]
    fn largest_i32(self, v: __m512i) -> i32 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_reduce_max_epi32(v) }
    }
    #[inline(always)]
    fn sum_i32(self, v: __m512i) -> i32 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_reduce_add_epi32(v) }
    }
    #[inline(always)]
    fn largest_each<const N: usize>(self, v: [__m512i; N]) -> [i32; N] {
        reduce_each!(v, N, _mm512_max_epi32)
    }
    #[inline(always)]
    fn sum_each<const N: usize>(self, v: [__m512i; N]) -> [i32; N] {
        reduce_each!(v, N, _mm512_add_epi32)
    }
    #[inline(always)]
    fn interleave<const MR: usize>(self, rows: &[[__m512i; 32]; MR], lines: &mut [[u32; MR]; 8]) {
        const { assert!(MR <= 16) };
        // Packed twice within 128 bits, a word is four neighbours: words q and q + 4 of a row, then those of the next.
        let mut pairs = [self.splat_i32(0); 8];
        for (pair, rows) in pairs.iter_mut().zip(rows.chunks(2)) {
            let second = rows.last().unwrap_or(&rows[0]);
            // SAFETY: `self` proves AVX-512BW.
            *pair = unsafe { _mm512_packs_epi16(_mm512_packs_epi32(rows[0][0], rows[0][1]), _mm512_packs_epi32(second[0], second[1])) };
        }
        for (v, out) in lines.as_flattened_mut().chunks_mut(16).enumerate() {
            let mut words = self.splat_i32(0);
            for (four, pairs) in pairs.chunks_exact(2).enumerate().take(MR.div_ceil(4)) {
                let (mask, at) = Places::<MR>::ALL[v][four];
                // SAFETY: `self` proves AVX-512F; the load covers the 16 words of one array.
                unsafe {
                    let at = _mm512_loadu_si512(at.as_ptr().cast());
                    words = _mm512_or_si512(words, _mm512_maskz_permutex2var_epi32(mask, pairs[0], at, pairs[1]));
                }
            }
            // SAFETY: `self` proves AVX-512F; lanes at or beyond `out.len()` are masked off and not touched.
            unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), mask(out.len()), words) }
        }
    }
}

impl IntDot for Avx512 {
    type Bytes = [u16; 16];
    const DEPTH: usize = 2;
    const OFFSET: bool = false;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u16; 16]] {
        bytemuck::cast_slice(src).as_chunks().0
    }
    #[inline(always)]
    fn pair(low: i8, high: i8) -> u32 {
        sign_extended(low, high)
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[__m512i; NV]; MR], a: &[u32; MR], b: &[[u16; 16]; NV]) {
        let mut bv = [self.splat_i32(0); NV];
        for j in 0..NV {
            // SAFETY: `self` proves AVX-512BW; the load covers the 32 bytes of one array.
            bv[j] = unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(b[j].as_ptr().cast())) };
        }
        for i in 0..MR {
            let x = self.splat_i32(a[i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX-512BW.
                acc[i][j] = unsafe { _mm512_add_epi32(acc[i][j], _mm512_madd_epi16(x, bv[j])) };
            }
        }
    }

    const UNSIGNED: bool = true;
    const WIDE: usize = 2;

    /// The elements at even places, then those at odd ones, as weights are split into them.
    #[inline(always)]
    fn wide(quad: u32) -> [u32; 2] {
        let [a, b, c, d] = quad.to_le_bytes().map(u8::cast_signed);
        [sign_extended(a, c), sign_extended(b, d)]
    }
    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[__m512i; NV]; MR], a: &[[u32; MR]], b: &[__m512i; NV], small: bool) {
        // SAFETY: `self` proves AVX-512BW.
        let ones = unsafe { _mm512_set1_epi16(1) };
        if small {
            for i in 0..MR {
                let x = self.splat_i32(a[0][i].cast_signed());
                for j in 0..NV {
                    // SAFETY: `self` proves AVX-512BW. Two products are at most 2 · 63 · 127: nothing saturates.
                    acc[i][j] = unsafe { _mm512_add_epi32(acc[i][j], _mm512_madd_epi16(_mm512_maddubs_epi16(b[j], x), ones)) };
                }
            }
            return;
        }
        let low = self.splat_i32(0x00ff_00ff);
        let (mut even, mut odd) = (*b, *b);
        for j in 0..NV {
            even[j] = self.and_i32(b[j], low);
            // SAFETY: `self` proves AVX-512BW.
            odd[j] = unsafe { _mm512_srli_epi16::<8>(b[j]) };
        }
        for i in 0..MR {
            let (x, y) = (self.splat_i32(a[0][i].cast_signed()), self.splat_i32(a[1][i].cast_signed()));
            for j in 0..NV {
                // SAFETY: `self` proves AVX-512BW.
                acc[i][j] =
                    unsafe { _mm512_add_epi32(_mm512_add_epi32(acc[i][j], _mm512_madd_epi16(x, even[j])), _mm512_madd_epi16(y, odd[j])) };
            }
        }
    }
}

/// Proof that this CPU has AVX-512 with VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(Avx512);

impl Isa for Avx512Vnni {
    const ID: IsaId = IsaId::Avx512Vnni;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        if std::is_x86_feature_detected!("avx512vnni") { Avx512::detect().map(Self) } else { None }
    }
}

extends! { Avx512Vnni Avx512 "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni" }

impl IntDot for Avx512Vnni {
    type Bytes = [u32; 16];
    const DEPTH: usize = 4;
    const OFFSET: bool = true;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u32; 16]] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[__m512i; NV]; MR], a: &[u32; MR], b: &[[u32; 16]; NV]) {
        let mut bv = [self.splat_i32(0); NV];
        for j in 0..NV {
            // SAFETY: `self` proves AVX-512F; the load covers the 16 words of one array.
            bv[j] = unsafe { _mm512_loadu_si512(b[j].as_ptr().cast()) };
        }
        for i in 0..MR {
            let x = self.splat_i32(a[i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX512-VNNI.
                acc[i][j] = unsafe { _mm512_dpbusd_epi32(acc[i][j], bv[j], x) };
            }
        }
    }

    const UNSIGNED: bool = true;
    const PANEL_ROWS: usize = 5;

    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[__m512i; NV]; MR], a: &[[u32; MR]], b: &[__m512i; NV], _: bool) {
        for i in 0..MR {
            let x = self.splat_i32(a[0][i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX512-VNNI.
                acc[i][j] = unsafe { _mm512_dpbusd_epi32(acc[i][j], b[j], x) };
            }
        }
    }
}

/// Proof that this CPU has AVX-512 with BF16.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Bf16(Avx512);

impl Isa for Avx512Bf16 {
    const ID: IsaId = IsaId::Avx512Bf16;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::Bf16, peak::bf16::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        if std::is_x86_feature_detected!("avx512bf16") { Avx512::detect().map(Self) } else { None }
    }
}

extends! { Avx512Bf16 Avx512 "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16" }

impl Bf16Dot for Avx512Bf16 {
    #[inline(always)]
    fn rank1_bf16<const MR: usize, const NV: usize>(self, acc: &mut [[__m512; NV]; MR], a: &[u32; MR], b: &[[u32; 16]; NV]) {
        /// The same bits as 32 bfloat16.
        #[inline(always)]
        fn pairs(v: __m512i) -> __m512bh {
            // SAFETY: both types are 512 bits, any of which are valid.
            unsafe { core::mem::transmute::<__m512i, __m512bh>(v) }
        }
        let mut bv = [pairs(self.splat_i32(0)); NV];
        for j in 0..NV {
            // SAFETY: `self` proves AVX-512F; the load covers the 16 words of one array.
            bv[j] = pairs(unsafe { _mm512_loadu_si512(b[j].as_ptr().cast()) });
        }
        for i in 0..MR {
            let x = pairs(self.splat_i32(a[i].cast_signed()));
            for j in 0..NV {
                // SAFETY: `self` proves AVX512-BF16.
                acc[i][j] = unsafe { _mm512_dpbf16_ps(acc[i][j], x, bv[j]) };
            }
        }
    }
}

/// Where [`Simd::interleave`] finds the words of lines of MR rows.
struct Places<const MR: usize>;

impl<const MR: usize> Places<MR> {
    /// For each vector of the lines and each four rows: which words are of them, and where those are in two
    /// pairs of rows.
    const ALL: [[(u16, [u32; 16]); 4]; 8] = {
        let mut all = [[(0, [0; 16]); 4]; 8];
        let mut word = 0;
        while word < 8 * MR {
            let (line, row) = (word / MR, word % MR);
            let (mask, at) = &mut all[word / 16][row / 4];
            *mask |= 1 << (word % 16);
            at[word % 16] = (row % 4 / 2 * 16 + line % 4 * 4 + row % 2 * 2 + line / 4) as u32;
            word += 1;
        }
        all
    };
}

/// Two bytes as the 16-bit elements of one word.
pub(super) fn sign_extended(low: i8, high: i8) -> u32 {
    u32::from(i16::from(low).cast_unsigned()) | u32::from(i16::from(high).cast_unsigned()) << 16
}

/// The lowest `n` lanes; all of them from 16 on.
#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}
