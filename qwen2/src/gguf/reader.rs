//! A cursor over a file's bytes that never reads past the end and never believes a count.
//! It allocates nothing; callers size their buffers only after [`Reader::count`] has checked them, and tell
//! [`Reader::keep`] what they will take, which all together must not be out of proportion to the file.

use super::error::GgufError;

/// Reads little-endian values from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of memory that may still be taken.
    allowance: usize,
}

/// Memory that any file may take: enough for the metadata and the tensor list of a small model.
const SMALL: usize = 64 << 10;

impl<'a> Reader<'a> {
    /// A reader at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, allowance: bytes.len().saturating_mul(2).saturating_add(SMALL) }
    }

    /// Announces that `bytes` of memory will be taken for what is read.
    ///
    /// # Errors
    /// [`GgufError::Memory`] when, together with what was announced before, that is more than twice the file and
    /// 64 KiB. Many tiny items would be: each takes some memory beside its content.
    pub fn keep(&mut self, bytes: usize) -> Result<(), GgufError> {
        self.allowance = self.allowance.checked_sub(bytes).ok_or(GgufError::Memory { at: self.at, len: self.bytes.len() })?;
        Ok(())
    }

    /// Byte offset of the next value.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`GgufError::Truncated`], naming `what`, when fewer remain.
    pub fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let have = self.remaining();
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= have) else {
            return Err(GgufError::Truncated { what, at: self.at, need: len, have });
        };
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`GgufError::Truncated`].
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    /// The next `u32`.
    ///
    /// # Errors
    /// [`GgufError::Truncated`].
    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The next `u64`.
    ///
    /// # Errors
    /// [`GgufError::Truncated`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A `u64` that counts items of at least `min_bytes` bytes each, all still to come.
    ///
    /// # Errors
    /// [`GgufError::Count`] when the rest of the file is too short for them, so that the result may size an allocation.
    pub fn count(&mut self, what: &'static str, min_bytes: usize) -> Result<usize, GgufError> {
        let at = self.at;
        let count = self.u64(what)?;
        self.check_count(count, what, min_bytes, at)
    }

    /// Checks a count read earlier, at byte `at`, in the way of [`count`](Self::count).
    ///
    /// # Errors
    /// [`GgufError::Count`].
    pub fn check_count(&self, count: u64, what: &'static str, min_bytes: usize, at: usize) -> Result<usize, GgufError> {
        let have = self.remaining();
        let fits = usize::try_from(count).ok().filter(|&n| n.checked_mul(min_bytes).is_some_and(|bytes| bytes <= have));
        fits.ok_or(GgufError::Count { what, count, at, have })
    }

    /// A string: its length as `u64`, then that many bytes of UTF-8.
    ///
    /// # Errors
    /// [`GgufError::Truncated`], [`GgufError::Utf8`].
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let len = self.u64(what)?;
        let at = self.at;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| GgufError::Utf8 { what, at })
    }
}
