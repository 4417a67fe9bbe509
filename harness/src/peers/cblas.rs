//! BLAS libraries that are opened at run time: nothing is linked, so a machine without them loses
//! nothing but the comparison.
//!
//! Each library keeps its own idle and thread policy, as it is shipped; only its number of threads is
//! set, through its own function, before every problem.

use super::System;
use crate::measure::clock;
use crate::measure::operands::Operands;
use crate::space::Shape;
use anyhow::Context;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int};

/// A library that has CBLAS's `cblas_sgemm` with 32-bit integers.
#[derive(Debug)]
pub(super) struct Description {
    /// Its file names, the preferred one first.
    pub files: &'static [&'static str],
    /// The function that sets its number of threads.
    pub threads: Threads,
    /// The function that tells its version.
    pub version: Version,
}

/// The function that sets the number of threads of later calls, by its type.
#[derive(Debug)]
pub(super) enum Threads {
    /// `void f(int)`.
    Int(&'static CStr),
    /// `void f(int64_t)`.
    Long(&'static CStr),
}

/// The function that tells a library's version, by its type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version {
    /// `const char *f(void)`, which says everything.
    Text(&'static CStr),
    /// `const char *f(void)`, whose text is to follow a name; and for the kernels that it chose
    /// `int f(void)`, and `const char *f(int)` for what that number is called.
    WithKernels {
        /// The library's name.
        name: &'static str,
        /// Its version.
        version: &'static CStr,
        /// The number of its kernels.
        id: &'static CStr,
        /// What a number is called.
        kernels: &'static CStr,
    },
    /// `void f(char *buffer, int length)`.
    Buffer(&'static CStr),
    /// There is none.
    None,
}

/// `cblas_sgemm`: order, whether A and B are transposed, M, N, K, α, A, B, β and C, each matrix with its
/// leading dimension.
type Sgemm =
    unsafe extern "C" fn(c_int, c_int, c_int, c_int, c_int, c_int, f32, *const f32, c_int, *const f32, c_int, f32, *mut f32, c_int);

const ROW_MAJOR: c_int = 101;
const AS_IT_IS: c_int = 111;
const TRANSPOSED: c_int = 112;

/// A library at work. It is never closed: it has threads of its own that may be running its code.
struct Cblas {
    sgemm: Sgemm,
    threads: SetThreads,
    version: Option<String>,
}

#[derive(Clone, Copy)]
enum SetThreads {
    Int(unsafe extern "C" fn(c_int)),
    Long(unsafe extern "C" fn(i64)),
}

impl SetThreads {
    fn set(self, threads: usize) {
        match self {
            // SAFETY: the function takes any number from 1, and no call of the library is under way: it
            // is used by one thread alone.
            SetThreads::Int(set) => unsafe { set(threads as c_int) },
            // SAFETY: as above.
            SetThreads::Long(set) => unsafe { set(threads as i64) },
        }
    }
}

/// Opens the first file of the description that is there and has the functions.
pub(super) fn open(what: &'static Description) -> anyhow::Result<Box<dyn System>> {
    let mut refusal = anyhow::anyhow!("no file name is known");
    for file in what.files {
        // SAFETY: opening runs the library's own initialisers. These are the names of released BLAS
        // libraries, whose initialisers ask nothing of who opens them.
        match unsafe { Library::new(*file) } {
            Ok(library) => return connect(Box::leak(Box::new(library)), what).with_context(|| format!("{file} cannot be used")),
            Err(_) => refusal = anyhow::anyhow!("cannot open {}", what.files.join(" or ")),
        }
    }
    Err(refusal)
}

fn connect(library: &'static Library, what: &Description) -> anyhow::Result<Box<dyn System>> {
    // SAFETY: this is the type of `cblas_sgemm` in every CBLAS of 32-bit integers.
    let sgemm = *unsafe { library.get::<Sgemm>(c"cblas_sgemm") }?;
    let threads = match what.threads {
        // SAFETY: the description gives the function's type with its name.
        Threads::Int(name) => SetThreads::Int(*unsafe { library.get(name) }?),
        // SAFETY: as above.
        Threads::Long(name) => SetThreads::Long(*unsafe { library.get(name) }?),
    };
    // BLIS sets itself up by the first call of this kind, and may not be asked anything before.
    threads.set(1);
    Ok(Box::new(Cblas { sgemm, threads, version: version(library, what.version) }))
}

fn version(library: &Library, how: Version) -> Option<String> {
    match how {
        Version::None => None,
        Version::Text(function) => text(library, function),
        Version::WithKernels { name, version, id, kernels } => {
            let version = text(library, version)?;
            // SAFETY: the description gives the function's type with its name.
            let id = unsafe { library.get::<unsafe extern "C" fn() -> c_int>(id) }.ok()?;
            // SAFETY: as above.
            let called = unsafe { library.get::<unsafe extern "C" fn(c_int) -> *const c_char>(kernels) }.ok()?;
            // SAFETY: the first takes nothing; the second takes what the first gives, and returns a
            // string that lives as long as the library, or null.
            let kernels = unsafe { owned(called(id())) }?;
            Some(format!("{name} {version}, kernels for {kernels}"))
        }
        Version::Buffer(name) => {
            let mut text = [0u8; 256];
            // SAFETY: the description gives the function's type with its name.
            let write = unsafe { library.get::<unsafe extern "C" fn(*mut c_char, c_int)>(name) }.ok()?;
            // SAFETY: it writes at most as many bytes as it is told, one fewer than the buffer has.
            unsafe { write(text.as_mut_ptr().cast(), text.len() as c_int - 1) };
            CStr::from_bytes_until_nul(&text).ok().map(|t| t.to_string_lossy().trim().to_owned())
        }
    }
}

/// What a function without arguments says.
fn text(library: &Library, function: &CStr) -> Option<String> {
    // SAFETY: the description gives the function's type with its name.
    let text = unsafe { library.get::<unsafe extern "C" fn() -> *const c_char>(function) }.ok()?;
    // SAFETY: it takes nothing, and returns a string that lives as long as the library, or null.
    unsafe { owned(text()) }
}

/// A copy of a C string; `None` for null.
///
/// # Safety
/// If `text` is not null it must point at a string that ends.
unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: it is not null, and so by contract a string that ends.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned())
}

impl System for Cblas {
    fn version(&self) -> Option<String> {
        self.version.clone()
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        self.threads.set(operands.inputs.problem.threads);
        Ok(())
    }

    fn sample(&mut self, operands: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let Shape::Product { m, n, k } = operands.inputs.problem.shape else { anyhow::bail!("it multiplies matrices alone") };
        let (a, w, c) = (operands.inputs.left_values(0), operands.inputs.weights(), operands.outputs[0].floats.get_mut());
        assert!(a.len() >= m * k && w.len() >= n * k && c.len() >= m * n, "operands of another shape");
        let (m, n, k) = (c_int::try_from(m)?, c_int::try_from(n)?, c_int::try_from(k)?);
        let (a, w, c) = (a.as_ptr(), w.as_ptr(), c.as_mut_ptr());
        Ok(clock::sample(calls, || {
            // SAFETY: A is M × K, W is N × K and C is M × N, row-major and without gaps, as was just
            // asserted; C is borrowed mutably, so it overlaps neither.
            unsafe { (self.sgemm)(ROW_MAJOR, AS_IT_IS, TRANSPOSED, m, n, k, 1.0, a, k, w, k, 0.0, c, n) };
        }))
    }
}
