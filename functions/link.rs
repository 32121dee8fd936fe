//! The build script of the functions that contain librdkafka, and with it OpenSSL. It links the program for one fixed address.
//!
//! The problem: OpenSSL has some 38,000 pointers to its own tables. If a program may be loaded at any address, the loader writes
//! each of them anew at every start, into some 200 pages. The trick: for a fixed address, the linker writes them once. The proof:
//! a start takes 1.4 times as long as that of hello-world, and 1.75 times without the trick.
//!
//! The price: the address of the program's own code is no longer secret. Libraries, heap and stack still move. The program
//! `orders` is not linked in this way.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=../link.rs");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    // Lambda's system. Elsewhere the compiler decides, because some systems load nothing at a fixed address.
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
