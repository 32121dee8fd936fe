//! The build script of the functions that have librdkafka, and with it OpenSSL, in them: the program is linked for one address.
//!
//! OpenSSL brings some 38,000 pointers to its own tables. In a program that may be loaded anywhere the loader writes every one of them
//! anew at each start, into some 200 pages; here the linker has written them, once. A start takes 1.4 times as long as that of
//! hello-world, and 1.75 times without this.
//!
//! It gives up that nobody knows the address of the program's own code; libraries, heap and stack still move. The program `orders` is
//! not linked so.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=../link.rs");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    // As Lambda has it. Elsewhere it is left to the compiler: some systems load nothing at a fixed address.
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
