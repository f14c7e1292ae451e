//! A long string by reference count: what a large argument, a value and a reply in flight share without a copy.

use std::sync::Arc;

/// The bytes of a long string. A value is one; whoever has to change it while others hold it changes a copy.
pub type Blob = Arc<Vec<u8>>;
