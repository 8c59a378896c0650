//! The parts of the stage.

pub mod balancer;
mod client;
mod corpus;
mod driver;
pub mod fake_sts;
pub mod fake_vault;
pub mod http;
pub mod issuer;
pub mod moto;
pub mod people;
pub mod postgres;
pub mod process;
mod provider;
mod resources;
pub mod stage;
pub mod terminal;

pub use client::{Finished, finish, script};
pub use corpus::replay;
pub use driver::{
    chromium, driver, issuer_script, node_package, python_program, python_script, runners_node,
    story, validator,
};
pub use issuer::Issuer;
pub use people::People;
pub use postgres::Postgres;
pub use provider::Provider;
pub use stage::{Builder, EnforceAt, Programs, Stage, policies, record_text};
