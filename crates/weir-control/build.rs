//! Migrations are built in: one that is added has to be noticed, though no source changed.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
