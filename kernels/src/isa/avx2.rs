//! AVX2 with FMA and F16C: 256-bit vectors, 16 registers; with AVX-VNNI.

use super::avx512::sign_extended;
use super::{IntDot, Isa, IsaId, LINE, Simd, ask, extends, peak};
use crate::format::Format;
use core::arch::x86_64::*;

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Isa for Avx2 {
    const ID: IsaId = IsaId::Avx2;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::F32, peak::f32::<Self>), (Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        (std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("f16c"))
            .then_some(Avx2(()))
    }
}

impl Simd for Avx2 {
    type F32 = __m256;
    type Lanes = [f32; Self::LANES];
    type I32 = __m256i;
    type Words = [u32; Self::LANES];
    type Halves = [u16; Self::LANES];
    const LANES: usize = 8;
    const ACCUMULATORS: usize = 12;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enabled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { enabled(f) }
    }
    #[inline(always)]
    fn vectors(src: &[f32]) -> &[Self::Lanes] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> __m256 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX; the slice above holds eight elements, and the load is unaligned.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m256, dst: &mut [f32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX; the slice above holds eight elements, and the store is unaligned.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn xor(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_xor_ps(a, b) }
    }
    #[inline(always)]
    fn prefetch(self, row: &[f32]) {
        row.chunks(LINE).for_each(|line| ask(line.as_ptr().cast()));
    }
    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> __m256 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves F16C; the slice above holds eight halves, and the load is unaligned.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, v: __m256, dst: &mut [u16]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves F16C; the slice above holds eight halves, and the store is unaligned.
        unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    fn four_f16(self, src: [u16; 4]) -> [f32; 4] {
        // SAFETY: `self` proves F16C; a vector of four f32 is an array of them.
        unsafe { core::mem::transmute(_mm_cvtph_ps(_mm_loadl_epi64(src.as_ptr().cast()))) }
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
    fn load_bf16(self, src: &[u16]) -> __m256 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX2; the slice above holds eight elements, and the load is unaligned.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast())))) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m256i {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_epi32(x) }
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> __m256i {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX; the slice above holds eight elements, and the load is unaligned.
        unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_i32(self, v: __m256i, dst: &mut [i32]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX; the slice above holds eight elements, and the store is unaligned.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn add_i32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn to_f32(self, v: __m256i) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_cvtepi32_ps(v) }
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> __m256 {
        let src = &src[..Self::LANES];
        // SAFETY: `self` proves AVX2; the slice above holds eight bytes, and the load is unaligned.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(src.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn and_i32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn or_i32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn shl_i32(self, v: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` proves AVX2. With a constant the compiler makes it a shift by an immediate.
        unsafe { _mm256_sllv_epi32(v, _mm256_set1_epi32(bits.cast_signed())) }
    }
    #[inline(always)]
    fn shr_i32(self, v: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` proves AVX2. With a constant the compiler makes it a shift by an immediate.
        unsafe { _mm256_srlv_epi32(v, _mm256_set1_epi32(bits.cast_signed())) }
    }
    #[inline(always)]
    fn to_bits(self, v: __m256) -> __m256i {
        // SAFETY: `self` proves AVX2; a cast changes no bits.
        unsafe { _mm256_castps_si256(v) }
    }
    #[inline(always)]
    fn of_bits(self, v: __m256i) -> __m256 {
        // SAFETY: `self` proves AVX2; a cast changes no bits.
        unsafe { _mm256_castsi256_ps(v) }
    }
    #[inline(always)]
    fn truncate(self, v: __m256) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_cvttps_epi32(v) }
    }
    #[inline(always)]
    fn max_i32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_max_epi32(a, b) }
    }
    #[inline(always)]
    fn store_i8(self, v: __m256i, dst: &mut [i8]) {
        let dst = &mut dst[..Self::LANES];
        // SAFETY: `self` proves AVX2; the slice above holds eight bytes, and the store is unaligned. The
        // lowest byte of each lane comes to the beginning of its half, and the halves beside one another.
        unsafe {
            let lowest = _mm256_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
            );
            let halves = _mm256_shuffle_epi8(v, lowest);
            let bytes = _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
            _mm_storel_epi64(dst.as_mut_ptr().cast(), bytes);
        }
    }
}

impl IntDot for Avx2 {
    type Bytes = [u16; 8];
    const DEPTH: usize = 2;
    const OFFSET: bool = false;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u16; 8]] {
        bytemuck::cast_slice(src).as_chunks().0
    }
    #[inline(always)]
    fn pair(low: i8, high: i8) -> u32 {
        sign_extended(low, high)
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[__m256i; NV]; MR], a: &[u32; MR], b: &[[u16; 8]; NV]) {
        let mut bv = [self.splat_i32(0); NV];
        for j in 0..NV {
            // SAFETY: `self` proves AVX2; the load covers the 16 bytes of one array.
            bv[j] = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(b[j].as_ptr().cast())) };
        }
        for i in 0..MR {
            let x = self.splat_i32(a[i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX2.
                acc[i][j] = unsafe { _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(x, bv[j])) };
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
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[__m256i; NV]; MR], a: &[[u32; MR]], b: &[__m256i; NV], small: bool) {
        // SAFETY: `self` proves AVX2.
        let ones = unsafe { _mm256_set1_epi16(1) };
        if small {
            for i in 0..MR {
                let x = self.splat_i32(a[0][i].cast_signed());
                for j in 0..NV {
                    // SAFETY: `self` proves AVX2. Two products are at most 2 · 63 · 127: nothing saturates.
                    acc[i][j] = unsafe { _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(_mm256_maddubs_epi16(b[j], x), ones)) };
                }
            }
            return;
        }
        let low = self.splat_i32(0x00ff_00ff);
        let (mut even, mut odd) = (*b, *b);
        for j in 0..NV {
            even[j] = self.and_i32(b[j], low);
            // SAFETY: `self` proves AVX2.
            odd[j] = unsafe { _mm256_srli_epi16::<8>(b[j]) };
        }
        for i in 0..MR {
            let (x, y) = (self.splat_i32(a[0][i].cast_signed()), self.splat_i32(a[1][i].cast_signed()));
            for j in 0..NV {
                // SAFETY: `self` proves AVX2.
                acc[i][j] =
                    unsafe { _mm256_add_epi32(_mm256_add_epi32(acc[i][j], _mm256_madd_epi16(x, even[j])), _mm256_madd_epi16(y, odd[j])) };
            }
        }
    }
}

/// Proof that this CPU has AVX2 with AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(Avx2);

impl Isa for AvxVnni {
    const ID: IsaId = IsaId::AvxVnni;
    const PEAKS: &'static [(Format, peak::Loop)] = &[(Format::S8, peak::s8::<Self>)];
    fn of_this_cpu() -> Option<Self> {
        if std::is_x86_feature_detected!("avxvnni") { Avx2::detect().map(Self) } else { None }
    }
}

extends! { AvxVnni Avx2 "avx2,fma,f16c,avxvnni" }

impl IntDot for AvxVnni {
    type Bytes = [u32; 8];
    const DEPTH: usize = 4;
    const OFFSET: bool = true;

    #[inline(always)]
    fn bytes(src: &[u32]) -> &[[u32; 8]] {
        src.as_chunks().0
    }
    #[inline(always)]
    fn rank1_s8<const MR: usize, const NV: usize>(self, acc: &mut [[__m256i; NV]; MR], a: &[u32; MR], b: &[[u32; 8]; NV]) {
        let mut bv = [self.splat_i32(0); NV];
        for j in 0..NV {
            // SAFETY: `self` proves AVX; the load covers the eight words of one array.
            bv[j] = unsafe { _mm256_loadu_si256(b[j].as_ptr().cast()) };
        }
        for i in 0..MR {
            let x = self.splat_i32(a[i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX-VNNI.
                acc[i][j] = unsafe { _mm256_dpbusd_avx_epi32(acc[i][j], bv[j], x) };
            }
        }
    }

    const UNSIGNED: bool = true;

    #[inline(always)]
    fn quad<const MR: usize, const NV: usize>(self, acc: &mut [[__m256i; NV]; MR], a: &[[u32; MR]], b: &[__m256i; NV], _: bool) {
        for i in 0..MR {
            let x = self.splat_i32(a[0][i].cast_signed());
            for j in 0..NV {
                // SAFETY: `self` proves AVX-VNNI.
                acc[i][j] = unsafe { _mm256_dpbusd_avx_epi32(acc[i][j], b[j], x) };
            }
        }
    }
}
