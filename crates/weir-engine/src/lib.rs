pub mod catalog;
pub mod fixtures;
pub mod native;
pub mod scaffold;
