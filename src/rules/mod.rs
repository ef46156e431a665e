//! Rule files: read, checked with line and column, compiled to the types of `detect`.

pub mod guard;
pub mod problems;
pub mod yaml;
