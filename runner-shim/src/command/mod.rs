//! One module for each command of `guard`.
pub(crate) mod audit;
pub(crate) mod gateway;
pub(crate) mod lock;
mod paint;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod run;
