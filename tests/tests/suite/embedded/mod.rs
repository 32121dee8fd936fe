//! What is so on the embedded default alone: its files, and its folder that one process has at a time.

mod files;
mod folder;
mod leaving;
mod locked_file;
mod relay;
