//! What is so on the embedded default alone: its files, and its folder that one process has at a time.

mod folder;
mod locked_file;
mod relay;
