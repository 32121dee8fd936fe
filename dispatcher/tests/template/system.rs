//! The system as a process, and HTTP calls to it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A call of `orders` that has none of this process's variables.
pub(crate) fn orders(words: &[&str]) -> Command {
    let mut orders = Command::new(env!("CARGO_BIN_EXE_orders"));
    orders.args(words).env_clear().stdin(Stdio::null());
    orders
}

/// A system with the embedded stores, which are the default. It ends with the test.
pub(crate) struct System {
    process: Child,
    pub(crate) api: String,
    pub(crate) admin: String,
    _folder: TempDir,
}

/// An answer. The names of its headers are in lower case.
pub(crate) struct Answer {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl System {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let words = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut process = orders(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut address = |name: &str| {
            let line =
                lines.find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not said"));
            line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
        };
        let (api, admin) = (address("API"), address("Admin"));
        Self { process, api, admin, _folder: folder }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a request such as `GET /`, and reads its answer.
pub(crate) fn call(address: &str, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len().to_string();
    let always = [("host", address), ("connection", "close"), ("content-length", &length)];
    let headers: String =
        always.iter().chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(connection, "{request} HTTP/1.1\r\n{headers}\r\n{body}").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer}"));
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { headers, body: body.to_owned() }
}
