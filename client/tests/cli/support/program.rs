//! Runs the real `shoal`, with nothing of this machine's environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What a run left.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A run that is under way.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// `shoal` with these arguments, talking to `node` when that is not empty.
pub fn command(node: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
    command.env_clear().env("SHOAL_USER", "ann").env("SHOAL_DEV_DIR", "/nonexistent/shoal-dev");
    if !node.is_empty() {
        command.env("SHOAL_NODE", node);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub fn shoal(node: &str, args: &[&str]) -> Output {
    shoal_with(node, args, "")
}

/// Runs to the end with this on stdin.
pub fn shoal_with(node: &str, args: &[&str], stdin: &str) -> Output {
    let mut child = command(node, args).stdin(Stdio::piped()).spawn().unwrap();
    // A program that does not read its stdin may have closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    output(child.wait_with_output().unwrap())
}

fn output(output: std::process::Output) -> Output {
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Running {
    pub fn start(node: &str, args: &[&str]) -> Running {
        let mut child = command(node, args).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout }
    }

    /// The next line of its stdout.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Nobody reads its stdout any more.
    pub fn close_stdout(self) -> Child {
        self.child
    }

    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Its end; stdout is what was not read before.
    pub fn finish(mut self) -> Output {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let mut left = output(self.child.wait_with_output().unwrap());
        left.stdout = stdout;
        left
    }
}
