//! Roje: a sensor that reads syslog and flow records, matches shared indicators, and delivers
//! alerts, losing none.
//!
//! The modules stand in the order of the data path; a stage imports only the stages before it.

pub mod diagnostic;

pub mod input;

pub mod decode;

pub mod detect;

pub mod alert;

pub mod output;

pub mod metrics;

pub mod sources;

pub mod worker;

pub mod pipeline;

pub mod rules;

pub mod config;

pub mod admin;

pub mod cli;
