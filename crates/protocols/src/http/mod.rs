//! HTTP APIs: what a request means, what of it may go on, and masks in what comes back.
//!
//! Everything here is a pure function of its inputs.
//!
//! 1. [`head`]: which headers go on, and where the body ends, so that nobody behind reads another request than guard.
//! 2. [`target`]: the one path and query that a target stands for. What is matched is what is sent.
//! 3. [`matching`]: the request as rules look at it, with methods that are meant besides the one that was sent.
//! 4. [`mask`]: JSON with some values hidden, while it comes in.

pub(crate) mod fuzz;
pub mod head;
pub mod mask;
pub mod matching;
pub mod target;
