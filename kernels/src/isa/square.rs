//! What packing spends its time with, in instructions that every CPU of an architecture has: turning a
//! square of four by four 32-bit words in registers, and asking for memory that is read next.

/// Asks for the line at `at`, wherever that is.
#[inline(always)]
pub(crate) fn ask(at: *const u8) {
    // SAFETY: a prefetch reads nothing, faults on nothing, and every CPU of these architectures has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, nomem));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Word (`i`, `j`) of the result is word (`j`, `i`) of `rows`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn turn(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    use core::arch::x86_64::*;
    let mut out = [[0; 4]; 4];
    // SAFETY: SSE is part of x86-64; each load and store covers the four elements of one array.
    unsafe {
        let [mut a, mut b, mut c, mut d] = rows.map(|row| _mm_loadu_ps(row.as_ptr().cast()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (out, v) in out.iter_mut().zip([a, b, c, d]) {
            _mm_storeu_ps(out.as_mut_ptr().cast(), v);
        }
    }
    out
}

/// Word (`i`, `j`) of the result is word (`j`, `i`) of `rows`.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn turn(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    use core::arch::aarch64::*;
    let mut out = [[0; 4]; 4];
    // SAFETY: NEON is part of AArch64; each load and store covers the four elements of one array.
    unsafe {
        let [a, b, c, d] = rows.map(|row| vld1q_u32(row.as_ptr()));
        let (low, high) = (vzip1q_u32(a, c), vzip2q_u32(a, c));
        let (low2, high2) = (vzip1q_u32(b, d), vzip2q_u32(b, d));
        let turned = [vzip1q_u32(low, low2), vzip2q_u32(low, low2), vzip1q_u32(high, high2), vzip2q_u32(high, high2)];
        for (out, v) in out.iter_mut().zip(turned) {
            vst1q_u32(out.as_mut_ptr(), v);
        }
    }
    out
}

/// Word (`i`, `j`) of the result is word (`j`, `i`) of `rows`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(crate) fn turn(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    core::array::from_fn(|i| core::array::from_fn(|j| rows[j][i]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_become_columns() {
        let rows: [[u32; 4]; 4] = core::array::from_fn(|i| core::array::from_fn(|j| (4 * i + j) as u32));
        let turned = super::turn(rows);
        for i in 0..4 {
            for j in 0..4 {
                assert_eq!(turned[i][j], rows[j][i]);
            }
        }
    }
}
