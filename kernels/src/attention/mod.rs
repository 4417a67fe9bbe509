//! Attention of query heads to a cache of keys and values: out ← softmax(Q·Kᵀ/√d + mask) · V, head by head, without the
//! matrix of scores ever being whole in memory. Query heads in groups share the keys and values of one head, and are
//! served together, so that each key and value is loaded once for all of them.
//!
//! A tile of keys at a time is scored; the largest score and the sum so far are carried along, and what was summed is
//! scaled when a larger score comes (Milakov and Gimelshein 2018; Dao, Fu, Ermon, Rudra and Ré 2022). Two operations:
//! [`Attention`] for many tokens (`prefill.rs`), [`AttentionDecode`] for one (`decode.rs`). How keys and values lie says
//! [`cache`]; the SVE loops are in `sve.rs`, the registered parameters in `list.rs`. Kernels never allocate, and start no threads.

pub mod cache;
mod decode;
mod list;
mod online;
mod prefill;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use cache::{Kv, Layout};
pub use decode::Token;
pub use list::*;
pub use prefill::Tiles;

use crate::mat::{Mat, MatMut};
use crate::registry::{Kernel, Meta};
use crate::team::Workers;
use core::marker::PhantomData;

/// A handle to a kernel for many tokens.
pub type Attention = Handle<Prefill>;

/// A handle to a kernel for one token.
pub type AttentionDecode = Handle<Decode>;

/// What [`Attention`] does.
#[derive(Debug)]
pub enum Prefill {}

/// What [`AttentionDecode`] does.
#[derive(Debug)]
pub enum Decode {}

/// One of the two operations.
pub trait Operation: Sized + 'static {
    /// Tokens that a call takes at most.
    const MOST_TOKENS: usize;
    /// As one of all kernels.
    fn kernel(handle: Handle<Self>) -> Kernel;
}

impl Operation for Prefill {
    const MOST_TOKENS: usize = usize::MAX;
    fn kernel(handle: Attention) -> Kernel {
        Kernel::Attention(handle)
    }
}

impl Operation for Decode {
    const MOST_TOKENS: usize = 1;
    fn kernel(handle: AttentionDecode) -> Kernel {
        Kernel::AttentionDecode(handle)
    }
}

/// Which keys a token attends to.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// All of the context.
    All,
    /// Token t of a call is at position `first` + t and sees the keys up to its own.
    Causal {
        /// The position of the first token.
        first: usize,
    },
    /// What is added to the scores: tokens × context; −∞, or anything below −1e38, hides.
    Added(Mat<'a, f32>),
}

impl Mask<'_> {
    /// How many of `context` keys a token may see, those that an added mask hides among them.
    #[inline(always)]
    fn seen(&self, token: usize, context: usize) -> usize {
        match self {
            Mask::Causal { first } => first.saturating_add(token).saturating_add(1).min(context),
            _ => context,
        }
    }
}

/// The extents of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Query tokens.
    pub tokens: usize,
    /// Keys, from the beginning of the cache on.
    pub context: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head.
    pub dim: usize,
}

impl Shape {
    /// Query heads that share keys and values.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The operands of a call.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    shape: Shape,
    q: Mat<'a, f32>,
    kv: Kv<'a>,
    mask: Mask<'a>,
}

impl<'a> Operands<'a> {
    /// The query of a token in a head.
    #[inline(always)]
    fn query(&self, token: usize, head: usize) -> &'a [f32] {
        let row = self.q.row(token).expect("rows of queries are adjacent, as `run` asserts");
        &row[head * self.shape.dim..][..self.shape.dim]
    }
}

/// What a kernel does.
pub trait Body: Send + Sync {
    /// Elements of the workspace that a call with so many threads needs.
    fn workspace_len(&self, shape: Shape, threads: usize) -> usize;
    /// Does it; operands fit each other, and the workspace suffices.
    fn run(&self, operands: Operands<'_>, out: MatMut<'_, f32>, workers: &dyn Workers, workspace: &mut [f32]);
}

/// A handle to a kernel of one of the two operations; it exists only where the CPU can run it.
pub struct Handle<O> {
    meta: &'static Meta,
    body: &'static dyn Body,
    operation: PhantomData<fn() -> O>,
}

impl<O: Operation> Handle<O> {
    fn new(meta: &'static Meta, body: impl Body + 'static) -> Handle<O> {
        // A zero-sized token: leaking it allocates nothing.
        Handle { meta, body: Box::leak(Box::new(body)), operation: PhantomData }
    }

    /// What the registry says of it; its format is that of the cache.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Elements of the workspace that a call needs, by as many threads as its workers have. Fewer tokens or a shorter
    /// context never need more.
    pub fn workspace_len(&self, shape: Shape, threads: usize) -> usize {
        self.body.workspace_len(shape, threads)
    }

    /// out ← attention of `q` to the first `context` keys of `kv`, of which `mask` may hide some. Rows of `q` and `out`
    /// are tokens, and hold the heads one after another, `dim` elements each; each run of `heads / kv.heads()` of them
    /// shares the keys and values of one head. Scores are divided by √dim. A token that sees nothing becomes 0.
    ///
    /// What is in the cache behind the context, or hidden by position, does not matter, as long as values are finite.
    /// Results depend on the number of threads only in their rounding.
    ///
    /// # Panics
    /// If the cache has another format than the kernel, extents do not fit each other, rows of `q` or of the mask are not
    /// adjacent in memory, there are more tokens than the operation takes, or the workspace is too short.
    pub fn run(
        &self,
        q: Mat<'_, f32>,
        kv: &Kv<'_>,
        (context, mask): (usize, Mask<'_>),
        out: MatMut<'_, f32>,
        workers: &dyn Workers,
        workspace: &mut [f32],
    ) {
        let (layout, kv_heads) = (kv.layout(), kv.heads());
        let (format, dim, capacity) = (layout.format(), layout.dim(), layout.capacity());
        assert!(format == self.meta.format, "{} on a cache of {}", self.meta.name, format.name());
        assert!(
            q.cols().is_multiple_of(dim * kv_heads),
            "{} columns of queries for {kv_heads} heads of keys with {dim} elements",
            q.cols()
        );
        assert!(context <= capacity, "a context of {context} in a cache for {capacity}");
        let shape = Shape { tokens: q.rows(), context, heads: q.cols() / dim, kv_heads, dim };
        assert!(
            (out.rows(), out.cols()) == (q.rows(), q.cols()),
            "{}x{} results of {}x{} queries",
            out.rows(),
            out.cols(),
            q.rows(),
            q.cols()
        );
        assert!(shape.tokens <= O::MOST_TOKENS, "{} takes {} token, not {}", self.meta.name, O::MOST_TOKENS, shape.tokens);
        if shape.tokens == 0 || shape.heads == 0 {
            return;
        }
        assert!(q.row(0).is_some(), "queries whose rows are not adjacent");
        if let Mask::Added(mask) = mask {
            assert!((mask.rows(), mask.cols()) == (shape.tokens, context), "a mask of {}x{} for {shape:?}", mask.rows(), mask.cols());
            assert!(mask.row(0).is_some(), "a mask whose rows are not adjacent");
        }
        let needed = self.workspace_len(shape, workers.count());
        assert!(workspace.len() >= needed, "a workspace of {} elements where {needed} are needed", workspace.len());
        self.body.run(Operands { shape, q, kv: *kv, mask }, out, workers, workspace);
    }
}

impl<O> Clone for Handle<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Handle<O> {}

impl<O> core::fmt::Debug for Handle<O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Attention").field(&self.meta.name).finish()
    }
}

/// A kernel type of a family member, with its parameters, and how it becomes a handle: it needs lines in `list.rs` and a
/// [`Body`].
macro_rules! attention_kernel {
    ($(#[$doc:meta])* $kernel:ident<$($p:ident),+>: $op:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $kernel<I, E, $(const $p: usize),+>(I, core::marker::PhantomData<E>);

        impl<I: $crate::isa::Isa, E: $crate::attention::cache::Cached, $(const $p: usize),+> $kernel<I, E, $($p),+>
        where
            Self: $crate::registry::Registered + $crate::attention::Body,
        {
            /// The handle, when this CPU has the instructions.
            pub fn handle() -> Option<$crate::attention::Handle<$op>> {
                let kernel = Self(I::detect()?, core::marker::PhantomData);
                Some($crate::attention::Handle::new(<Self as $crate::registry::Registered>::META, kernel))
            }

            #[cfg(feature = "sweep")]
            pub(super) fn make() -> Option<$crate::registry::Kernel> {
                Self::handle().map(<$op as $crate::attention::Operation>::kernel)
            }
        }
    };
}
use attention_kernel;

/// Multiply-adds that are worth another thread.
const WORTH: usize = 1 << 16;

/// Threads that so many multiply-adds are worth.
fn threads(workers: &dyn Workers, work: usize) -> usize {
    workers.count().min(work / WORTH + 1)
}
