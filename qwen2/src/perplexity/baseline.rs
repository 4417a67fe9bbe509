//! Recorded predictions in a file, for comparing other models, formats or kernels with them.
//!
//! All numbers are little-endian. A head of 40 bytes: `KILNLOGP`, u32 version 1, u32 tokens of the vocabulary `V`, u64 a
//! hash of the vocabulary, u32 tokens of a window `W`, u32 first position of a window that is scored `F`, u64 number of
//! tokens `N`, a multiple of `W`. Then `N` token ids as u32. Then for each window the `W - 1 - F` scored predictions, each
//! `V` log-likelihoods in nats as f16: two bytes a token. What is below -65504 is recorded as that.
//!
//! A reader scales each prediction so that it sums to 1 again; what rounding to f16 does to a mean divergence is then below
//! 1e-6 nats. A file is believed nothing: its head is checked against its length and against the model's vocabulary.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::{Prediction, Windows};
use crate::error::Error;
use crate::tokenizer::Tokenizer;

const MAGIC: &[u8; 8] = b"KILNLOGP";
const VERSION: u32 = 1;
const HEAD: usize = 40;

/// Writes a baseline.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    row: Vec<f16>,
}

impl Writer {
    /// Starts the file at `path` for the predictions of `tokens`, cut as `windows` says; an older one is replaced.
    ///
    /// # Errors
    /// [`Error::Write`], or there are more tokens than the format counts.
    pub fn create(path: &Path, tokenizer: &Tokenizer, tokens: &[u32], windows: Windows) -> Result<Self, Error> {
        let tokens = &tokens[..windows.tokens().min(tokens.len())];
        let narrow = |count: usize| u32::try_from(count).map_err(|_| Error::Usage(format!("{count} tokens are too many for a baseline")));
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(narrow(tokenizer.len())?.to_le_bytes());
        head.extend(fingerprint(tokenizer).to_le_bytes());
        head.extend(narrow(windows.window)?.to_le_bytes());
        head.extend(narrow(windows.first)?.to_le_bytes());
        head.extend((tokens.len() as u64).to_le_bytes());
        debug_assert_eq!(head.len(), HEAD);
        head.extend(tokens.iter().flat_map(|id| id.to_le_bytes()));
        let unwritable = |source| Error::Write { path: path.to_owned(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(unwritable)?);
        file.write_all(&head).map_err(unwritable)?;
        Ok(Self { path: path.to_owned(), file, row: Vec::new() })
    }

    /// Records the next prediction.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn add(&mut self, prediction: &Prediction<'_>) -> Result<(), Error> {
        let log_sum = prediction.log_sum;
        self.row.clear();
        // An infinite one could not be scaled when it is read.
        let lowest = f32::from(f16::MIN);
        self.row.extend(prediction.logits.iter().map(|&logit| f16::from_f32(((f64::from(logit) - log_sum) as f32).max(lowest))));
        let write = |file: &mut BufWriter<File>| {
            if cfg!(target_endian = "little") {
                return file.write_all(bytemuck::cast_slice(&self.row));
            }
            self.row.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        };
        write(&mut self.file).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

/// Reads a baseline.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    tokens: Vec<u32>,
    windows: Windows,
    bytes: Vec<u8>,
    row: Vec<f32>,
}

impl Reader {
    /// Opens the file at `path` and checks that it is whole and of a model with the vocabulary of `tokenizer`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Baseline`] when it is something else.
    pub fn open(path: &Path, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let unreadable = |source| Error::Io { path: path.to_owned(), source };
        let bad = |why: String| Error::Baseline { path: path.to_owned(), why };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(bad("it is not a regular file".to_owned()));
        }
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut head = [0; HEAD];
        match file.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(bad("it does not begin as one".to_owned())),
            read => read.map_err(unreadable)?,
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if head[..8] != *MAGIC {
            return Err(bad("it does not begin as one".to_owned()));
        }
        if word(8) != VERSION {
            return Err(bad(format!("its version is {}, only {VERSION} is known", word(8))));
        }
        if word(12) as usize != tokenizer.len() || long(16) != fingerprint(tokenizer) {
            return Err(bad(format!("it was made with another vocabulary (of {} tokens) than the model's", word(12))));
        }
        let (window, first, count) = (u64::from(word(24)), u64::from(word(28)), long(32));
        if window < first + 2 || count == 0 || count % window != 0 {
            return Err(bad(format!("{count} tokens in windows of {window}, scored from {first} on, cannot be")));
        }
        let rows = (count / window).checked_mul(window - 1 - first);
        let bytes = rows.and_then(|rows| rows.checked_mul(2 * u64::from(word(12))));
        let needed = bytes.and_then(|bytes| bytes.checked_add(count.checked_mul(4)?)?.checked_add(HEAD as u64));
        if needed != Some(metadata.len()) {
            return Err(bad("it has another length than its head says; it was not finished, or is damaged".to_owned()));
        }
        let mut bytes = vec![0; 4 * count as usize];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let tokens: Vec<u32> = bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
        if let Some(&id) = tokens.iter().find(|id| **id >= word(12)) {
            return Err(Error::TokenId { id: id.into(), vocab: tokenizer.len() });
        }
        let windows = Windows { window: window as usize, first: first as usize, count: (count / window) as usize };
        let (bytes, row) = (vec![0; 2 * tokenizer.len()], vec![0.0; tokenizer.len()]);
        Ok(Self { path: path.to_owned(), file, tokens, windows, bytes, row })
    }

    /// The text that was recorded.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How it was cut.
    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// The next prediction: log-likelihoods of all tokens, in nats.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Baseline`] when one is not a number.
    pub fn read(&mut self) -> Result<&[f32], Error> {
        self.file.read_exact(&mut self.bytes).map_err(|source| Error::Io { path: self.path.clone(), source })?;
        self.row.iter_mut().zip(self.bytes.as_chunks().0).for_each(|(value, half)| *value = f16::from_le_bytes(*half).to_f32());
        if let Some(bad) = self.row.iter().find(|value| !value.is_finite() || **value > 0.0) {
            return Err(Error::Baseline { path: self.path.clone(), why: format!("{bad} is no log-likelihood; it is damaged") });
        }
        Ok(&self.row)
    }
}

/// A hash (FNV-1a) of the bytes of all tokens: predictions of other tokens cannot be compared.
fn fingerprint(tokenizer: &Tokenizer) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    for id in 0..tokenizer.len() as u32 {
        let piece = tokenizer.piece(id);
        (piece.len() as u32).to_le_bytes().iter().chain(piece).for_each(|byte| add(*byte));
    }
    hash
}
