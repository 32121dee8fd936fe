//! Rules that hold on the embedded default alone: its files, and its folder, which one process has at a time.

pub(crate) mod copy;
mod files;
mod folder;
mod leaving;
mod locked_file;
mod relay;
