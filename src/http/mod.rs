//! HTTP: bytes of a connection to calls of the doors in `gateway`, and answers back.
//!
//! `routes` lists every route. `listener` accepts connections; `doors` is what handlers share; `body`
//! reads a request under its bounds; `problem` is every failure a client can see. One file per resource.

mod admission;
mod audit;
mod batch;
mod body;
mod contract_check;
mod contracts;
mod credentials;
mod document;
mod doors;
mod egress;
mod erasures;
mod explain;
mod gate;
mod grants;
mod health;
mod ingest;
pub mod listener;
mod once;
mod openapi;
mod paging;
mod policies;
mod precondition;
mod principals;
mod problem;
mod problem_page;
mod projects;
mod purposes;
mod routes;
mod schemas;
mod streams;
mod subjects;
mod subscription;
mod token;
mod usage;
mod whoami;

pub use self::{
    admission::Admission,
    doors::Doors,
    problem::{ApiError, CODES},
    routes::routes,
};
