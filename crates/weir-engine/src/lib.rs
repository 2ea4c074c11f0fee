pub mod catalog;
pub mod native;
