//! SVE
