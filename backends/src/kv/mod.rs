//! Who owns which page of the KV cache. Bookkeeping only: what is written in a page is the executor's.

pub mod check;
pub mod pages;
pub mod table;
